"""The gradient of max pooling, as XLA's CPU backend computes it fastest."""

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxvision.nn._barrier import computed_once
from jaxvision.nn._conv_native import Geometry
from jaxvision.nn._windows import pad, taps


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


def _with_residuals(window: int, stride: int, padding: int, x: Array) -> tuple[Array, tuple[Array, Array]]:
    y = max_pool(window, stride, padding, x)
    return y, (x, y)


max_pool.defvjp(_with_residuals, _gradient)


def _by_taps(window: int, s: int, padding: int, x: Array, y: Array, g: Array) -> Array:
    # A loop over all windows for each tap: first which tap a window's maximum is, then what each pixel gets.
    (b, h, w, c), (oh, ow) = x.shape, y.shape[1:3]
    geometry = Geometry(
        image=(h, w),
        window=(window, window),
        out=(oh, ow),
        low=(padding, padding),
        stride=(s, s),
        dilation=(1, 1),
        in_features=c,
        out_features=c,
        groups=c,
    )
    first = jnp.full(y.shape, window**2, jnp.int32)
    for index, tap in reversed(list(enumerate(taps(geometry, x, value=-jnp.inf)))):
        first = jnp.where(tap == y, index, first)
    first = computed_once(first)
    nh, nw = oh + (window - 1) // s, ow + (window - 1) // s

    def phase(low_i: int, low_j: int) -> Array:
        """What the pixels get that the taps of one phase look at."""
        total = jnp.zeros((b, nh, nw, c), g.dtype)
        for i in range(low_i, window, s):
            for j in range(low_j, window, s):
                part = jnp.where(first == i * window + j, g, 0)
                total += pad(part, (i // s, nh - oh - i // s, 0), (j // s, nw - ow - j // s, 0))
        return total

    dx = jnp.stack([jnp.stack([phase(i, j) for j in range(s)], 3) for i in range(s)], 2).reshape(b, nh * s, nw * s, c)
    return pad(dx, (-padding, h + padding - nh * s, 0), (-padding, w + padding - nw * s, 0))
