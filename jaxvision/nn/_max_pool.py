"""The gradient of max pooling, as XLA's CPU backend computes it fastest."""

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxvision.nn._barrier import computed_once


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def max_pool(window: int, stride: int, padding: int, x: Float[Array, "b h w c"]) -> Float[Array, "b H W c"]:
    """See `jaxvision.nn.max_pool`; of pixels that are equal, a window's gradient goes to the first, as in PyTorch."""
    return native_max_pool(window, stride, padding, x)


def native_max_pool(window: int, stride: int, padding: int, x: Array) -> Array:
    """As XLA does it, whose gradient on a CPU looks at one window after the other."""
    sides = ((0, 0), (padding, padding), (padding, padding), (0, 0))
    size: tuple[int, ...] = (1, window, window, 1)
    return lax.reduce_window(x, -jnp.inf, lax.max, size, (1, stride, stride, 1), sides)


@functools.partial(jax.jit, static_argnums=(0, 1, 2), inline=True)  # compiled as one also where the caller is not
def _gradient(window: int, stride: int, padding: int, xy: tuple[Array, Array], g: Array) -> tuple[Array]:
    def native(x: Array, y: Array, g: Array) -> Array:
        (dx,) = jax.vjp(functools.partial(native_max_pool, window, stride, padding), x)[1](g)
        return dx

    return (lax.platform_dependent(*xy, g, cpu=functools.partial(_by_taps, window, stride, padding), default=native),)


max_pool.defvjp(
    lambda window, stride, padding, x: ((y := max_pool(window, stride, padding, x)), (x, y)),
    _gradient,
)


def _by_taps(window: int, s: int, padding: int, x: Array, y: Array, g: Array) -> Array:
    # A loop over all windows for each tap: first which tap a window's maximum is, then what each pixel gets. A strided
    # slice is slow; a reshape that puts the phases of the stride on axes of their own is not.
    (b, h, w, c), (oh, ow) = x.shape, y.shape[1:3]
    nh, nw = oh + (window - 1) // s, ow + (window - 1) // s
    after = nh * s - h - padding, nw * s - w - padding
    padded = lax.pad(
        x, jnp.array(-jnp.inf, x.dtype), ((0, 0, 0), (padding, after[0], 0), (padding, after[1], 0), (0, 0, 0))
    )
    padded = padded.reshape(b, nh, s, nw, s, c)
    first = jnp.full(y.shape, window**2, jnp.int32)
    for tap in reversed(range(window**2)):
        i, j = divmod(tap, window)
        first = jnp.where(padded[:, i // s :, i % s, j // s :, j % s][:, :oh, :ow] == y, tap, first)
    first = computed_once(first)

    def phase(low_i: int, low_j: int) -> Array:
        """What the pixels get that the taps of one phase look at."""
        total = jnp.zeros((b, nh, nw, c), g.dtype)
        for i in range(low_i, window, s):
            for j in range(low_j, window, s):
                sides = ((0, 0, 0), (i // s, nh - oh - i // s, 0), (j // s, nw - ow - j // s, 0), (0, 0, 0))
                total += lax.pad(jnp.where(first == i * window + j, g, 0), jnp.zeros((), g.dtype), sides)
        return total

    dx = jnp.stack([jnp.stack([phase(i, j) for j in range(s)], 3) for i in range(s)], 2).reshape(b, nh * s, nw * s, c)
    return lax.pad(
        dx, jnp.zeros((), g.dtype), ((0, 0, 0), (-padding, -after[0], 0), (-padding, -after[1], 0), (0, 0, 0))
    )
