"""Sums of every channel over all images and pixels, as XLA's CPU backend computes them fastest."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxvision.nn._barrier import computed_once

_LEAST_SIZE = 2**21  # of fewer numbers, little is to be saved, and each loop takes time to compile
_MOST_ROWS = 7  # XLA fuses into a loop what it computes there up to fifteen times


@partial(jax.jit, inline=True)  # compiled as one also where the caller is not
def channel_sums(a: Float[Array, "... c"], b: Float[Array, "... c"]) -> tuple[Float[Array, " c"], Float[Array, " c"]]:
    """The sums of ``a`` and of ``a * b`` over all axes but the last."""
    return lax.platform_dependent(a, b, cpu=_by_rows, default=_plainly)


def _plainly(a: Array, b: Array) -> tuple[Array, Array]:
    axes = tuple(range(a.ndim - 1))
    return jnp.sum(a, axes), jnp.sum(a * b, axes)


def _by_rows(a: Array, b: Array) -> tuple[Array, Array]:
    # A reduction reads arrays from memory: what it is of would be written and read once more. Some rows of an image
    # added up by hand are an elementwise loop like any other, and leave a reduction little to do. Rows of one image,
    # since images may be on several devices.
    if a.ndim != 4 or a.size < _LEAST_SIZE:
        return _plainly(a, b)
    batch, height, width, channels = a.shape
    rows = next(n for n in range(min(height, _MOST_ROWS), 0, -1) if height % n == 0)
    a, b = (x.reshape(batch, height // rows, rows, width, channels) for x in (a, b))
    first = sum((a[:, :, row] for row in range(rows)), jnp.zeros((), a.dtype))
    second = sum((a[:, :, row] * b[:, :, row] for row in range(rows)), jnp.zeros((), a.dtype))
    return jnp.sum(computed_once(first), (0, 1, 2)), jnp.sum(computed_once(second), (0, 1, 2))
