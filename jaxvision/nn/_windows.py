"""What sums and maxima over windows share: padding, and an image as each tap of a window sees it."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from jaxvision.nn._barrier import computed_once
from jaxvision.nn._conv_native import Geometry


def accumulator(dtype: jnp.dtype) -> jnp.dtype:
    """The type of sums of numbers of a type: at least float32."""
    return jnp.promote_types(dtype, jnp.float32)


def pad(x: Array, height: tuple[int, int, int], width: tuple[int, int, int], value: float = 0) -> Array:
    """`jax.lax.pad` of images by rows and columns: before, after (may be negative) and between them."""
    return lax.pad(x, jnp.array(value, x.dtype), ((0, 0, 0), height, width, (0, 0, 0)))


def taps(geometry: Geometry, x: Array, *, value: float = 0, padded_once: bool = False) -> list[Array]:
    """What each tap of the window sees of the image, row by row; every tap is (b, oh, ow, c).

    Args:
        geometry: of the convolution.
        x: the images.
        value: of the pixels around them.
        padded_once: whether the padded image gets a buffer of its own, which pays where the taps are used one by one.
            Otherwise the loop that adds them up reads the image and pads as it goes.
    """
    (sh, sw), (dh, dw), (oh, ow), (kh, kw) = geometry.stride, geometry.dilation, geometry.out, geometry.window
    nh, nw = oh + dh * (kh - 1) // sh, ow + dw * (kw - 1) // sw
    channels = x.shape[-1]
    # A strided slice is slow; a reshape that puts the phases of the stride on an axis of their own is not.
    x = pad(
        x,
        (geometry.low[0], nh * sh - geometry.image[0] - geometry.low[0], 0),
        (geometry.low[1], nw * sw - geometry.image[1] - geometry.low[1], 0),
        value,
    )
    x = (computed_once(x) if padded_once else x).reshape(x.shape[0], nh, sh, nw, sw * channels)
    seen = []
    for i in range(0, kh * dh, dh):
        for j in range(0, kw * dw, dw):
            phase = j % sw * channels
            seen.append(x[:, i // sh :, i % sh, j // sw :, phase : phase + channels][:, :oh, :ow])
    return seen
