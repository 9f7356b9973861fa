"""A 3x3 convolution of step 1 by Winograd's F(2x2, 3x3): 16 products for 4 outputs, where a direct sum has 36.

Lavin and Gray 2016, "Fast Algorithms for Convolutional Neural Networks", section 4.1. A tile d of 4x4 pixels and a
kernel g give 2x2 outputs ``A^T [(G g G^T) * (B^T d B)] A``; for all tiles and channels, each of the 16 places is a
matrix product. Its sums are shorter than a direct one's, and its rounding no worse (their table 2). The outputs are
linear in g: its gradient, for gradients e of the outputs, is ``G^T [sum over tiles of (B^T d B) * (A e A^T)] G``.
"""

import math
from collections.abc import Callable, Sequence
from operator import add
from typing import TypeAlias

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxvision.nn._conv_native import Geometry
from jaxvision.nn._varying import vary_alike
from jaxvision.nn._windows import accumulator, pad

Transform: TypeAlias = Callable[[Sequence[Array]], list[Array]]

# Multiplications of one image. Of fewer, little is to be saved, and much is to be compiled.
_LEAST_PRODUCTS = 2**24
# Of what is between the transforms. Twice a processor's cache; beyond, memory is what one waits for.
_MOST_BYTES = 2**25


def is_winograd(geometry: Geometry, *, least_channels: int = 32) -> bool:
    """Whether it is faster so than in other forms (benchmarks/conv.py)."""
    fits = geometry.window == (3, 3) and geometry.stride == geometry.dilation == (1, 1) and geometry.groups == 1
    products = math.prod((*geometry.window, *geometry.out, geometry.in_features, geometry.out_features))
    return fits and min(geometry.in_features, geometry.out_features) >= least_channels and products >= _LEAST_PRODUCTS


def winograd_forward(
    geometry: Geometry, x: Float[Array, "b h w i"], kernel: Float[Array, "3 3 *io"], *, transposed: bool = False
) -> Float[Array, "b oh ow o"]:
    """The convolution; some images at a time, so that what is between the transforms stays small.

    Args:
        geometry: of the convolution.
        x: the images.
        kernel: taps of (i, o), or if ``transposed`` of (o, i): matrix products take both, where turning a large kernel
            round takes longer than they do.
        transposed: which of the two.
    """
    dtype = accumulator(x.dtype)
    kernels = _both_ways(_transformed_taps, [list(row) for row in kernel.astype(dtype)])
    images = _images_at_a_time(geometry, x)
    if images == x.shape[0]:
        return _some_outputs(geometry, x, kernels, transposed)
    y = lax.map(lambda x: _some_outputs(geometry, x, kernels, transposed), x.reshape(-1, images, *x.shape[1:]))
    return y.reshape(-1, *y.shape[2:])


def winograd_kernel_gradient(
    geometry: Geometry, x: Float[Array, "b h w i"], g: Float[Array, "b oh ow o"]
) -> Float[Array, "3 3 i o"]:
    """The gradient by the kernel, of some images at a time too."""
    images = _images_at_a_time(geometry, x)
    if images == x.shape[0]:
        products = _products(geometry, x, g)
    else:
        dtype = accumulator(x.dtype)
        none, *_ = vary_alike(jnp.zeros((geometry.in_features, geometry.out_features), dtype), x, g)
        products, _ = lax.scan(
            lambda sums, some: (jax.tree.map(add, sums, _products(geometry, *some)), None),
            [[none] * 4] * 4,
            tuple(a.reshape(-1, images, *a.shape[1:]) for a in (x, g)),
        )
    return jnp.stack([jnp.stack(row) for row in _both_ways(_taps_gradient, products)]).astype(x.dtype)


def _images_at_a_time(geometry: Geometry, x: Array) -> int:
    tiles = (geometry.out[0] + 1) // 2 * ((geometry.out[1] + 1) // 2)
    itemsize = accumulator(x.dtype).itemsize
    bytes_each = 16 * tiles * (geometry.in_features + geometry.out_features) * itemsize
    return next(
        n for n in range(x.shape[0], 0, -1) if x.shape[0] % n == 0 and (n == 1 or n * bytes_each <= _MOST_BYTES)
    )


def _some_outputs(geometry: Geometry, x: Array, kernels: list[list[Array]], transposed: bool) -> Array:
    oh, ow = geometry.out
    products = [
        [pixels @ (kernel.T if transposed else kernel) for pixels, kernel in zip(*pair, strict=True)]
        for pair in zip(_pixels(geometry, x), kernels, strict=True)
    ]
    rows, columns = (oh + 1) // 2, (ow + 1) // 2
    outputs = [[y.reshape(-1, rows, columns, y.shape[-1]) for y in row] for row in _both_ways(_outputs, products)]
    y = jnp.stack([jnp.stack(row, 3) for row in outputs], 2)  # (b, rows, 2, columns, 2, o)
    return y.reshape(y.shape[0], 2 * rows, 2 * columns, -1)[:, :oh, :ow].astype(x.dtype)


def _products(geometry: Geometry, x: Array, g: Array) -> list[list[Array]]:
    """What is summed over the tiles of some images in the kernel's gradient; 4 by 4 matrices of (i, o)."""
    (oh, ow), channels = geometry.out, g.shape[-1]
    halves = g.astype(accumulator(g.dtype))
    halves = pad(halves, (0, oh % 2, 0), (0, ow % 2, 0))
    halves = halves.reshape(-1, (oh + 1) // 2, 2, (ow + 1) // 2, 2, channels)
    outputs = [[halves[:, :, i, :, j].reshape(-1, channels) for j in range(2)] for i in range(2)]
    return [
        [pixels.T @ outputs for pixels, outputs in zip(*pair, strict=True)]
        for pair in zip(_pixels(geometry, x), _both_ways(_outputs_gradient, outputs), strict=True)
    ]


def _pixels(geometry: Geometry, x: Array) -> list[list[Array]]:
    """The transformed tiles: 4 by 4 matrices of (tiles, i)."""
    (h, w), (oh, ow), (lh, lw) = geometry.image, geometry.out, geometry.low
    rows, columns, channels = (oh + 1) // 2, (ow + 1) // 2, x.shape[-1]
    # A strided slice is slow; a reshape that puts even and odd pixels on an axis of their own is not.
    padded = pad(x, (lh, 2 * rows + 2 - h - lh, 0), (lw, 2 * columns + 2 - w - lw, 0)).astype(accumulator(x.dtype))
    padded = padded.reshape(-1, rows + 1, 2, columns + 1, 2, channels)
    tiles = [
        [padded[:, i // 2 :, i % 2, j // 2 :, j % 2][:, :rows, :columns].reshape(-1, channels) for j in range(4)]
        for i in range(4)
    ]
    return _both_ways(_transformed_pixels, tiles)


def _transformed_taps(g: Sequence[Array]) -> list[Array]:
    """G g."""
    even, odd = (g[0] + g[2]) / 2, g[1] / 2
    return [g[0], even + odd, even - odd, g[2]]


def _transformed_pixels(d: Sequence[Array]) -> list[Array]:
    """B^T d."""
    return [d[0] - d[2], d[1] + d[2], d[2] - d[1], d[1] - d[3]]


def _outputs(m: Sequence[Array]) -> list[Array]:
    """A^T m."""
    return [m[0] + m[1] + m[2], m[1] - m[2] - m[3]]


def _outputs_gradient(e: Sequence[Array]) -> list[Array]:
    """A e."""
    return [e[0], e[0] + e[1], e[0] - e[1], -e[1]]


def _taps_gradient(p: Sequence[Array]) -> list[Array]:
    """G^T p."""
    even, odd = (p[1] + p[2]) / 2, (p[1] - p[2]) / 2
    return [p[0] + even, odd, even + p[3]]


def _both_ways(transform: Transform, matrix: list[list[Array]]) -> list[list[Array]]:
    """``T M T^T`` for the matrix of a transform."""
    columns = [transform(column) for column in zip(*matrix, strict=True)]
    return [transform(row) for row in zip(*columns, strict=True)]
