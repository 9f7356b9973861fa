"""Convolutions as XLA's CPU backend computes them fastest.

XLA's own convolution is good on a CPU for dense windows and poor elsewhere: a depthwise one costs 10 to 30 times what
it should, a grouped one's gradients 100 times, and the kernel's gradient of a large image treats the image as a huge
window. Each function here is another way to write the same sum, and `None` from a `*_form` function says that XLA's own
way is the best. Timings of all of them: `benchmarks/conv.py`, docs/benchmarks.md.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import TypeAlias

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxvision.nn._barrier import computed_once
from jaxvision.nn._conv_native import Geometry, native_forward, native_input_gradient, native_kernel_gradient
from jaxvision.nn._windows import accumulator, pad, taps
from jaxvision.nn._winograd import is_winograd, winograd_forward, winograd_kernel_gradient

Form: TypeAlias = Callable[[Geometry, Array, Array], Array]


def forward_form(geometry: Geometry, *, differentiated: bool = False) -> Form | None:
    """The form of (geometry, x, kernel) -> y; where its gradients follow, one that makes what they need too."""
    if _is_depthwise(geometry):
        return _depthwise_forward_padded_once if differentiated else _depthwise_forward
    if geometry.groups > 1:
        return _grouped_forward
    if is_winograd(geometry):
        return winograd_forward
    return _pointwise_forward if _is_pointwise(geometry) else None


def input_gradient_form(geometry: Geometry) -> Form | None:
    """The form of (geometry, g, kernel) -> gradient by x, g being the gradient by y."""
    if _is_depthwise(geometry):
        return _depthwise_input_gradient
    if geometry.groups > 1:
        return _grouped_input_gradient
    if is_winograd(geometry):
        return _winograd_input_gradient
    return _pointwise_input_gradient if _is_pointwise(geometry) else None


def kernel_gradient_form(geometry: Geometry) -> Form | None:
    """The form of (geometry, x, g) -> gradient by the kernel.

    XLA convolves the input with the output's gradient as a window, which is good only for few input channels (a stem).
    """
    if _is_depthwise(geometry):
        return _depthwise_kernel_gradient
    if geometry.groups > 1:
        return _grouped_kernel_gradient
    if _is_pointwise(geometry):
        return _pointwise_kernel_gradient
    if geometry.dilation != (1, 1) or geometry.in_features < 16:
        return None
    if is_winograd(geometry, least_channels=24):
        return winograd_kernel_gradient
    return _kernel_gradient_by_rows if geometry.stride == (1, 1) else _kernel_gradient_by_taps


def _is_depthwise(geometry: Geometry) -> bool:
    # Not both strided and dilated, which no network is.
    one_each = geometry.groups == geometry.in_features == geometry.out_features > 1
    return one_each and (geometry.stride == (1, 1) or geometry.dilation == (1, 1))


def _is_pointwise(geometry: Geometry) -> bool:
    return geometry.groups == 1 and geometry.window == (1, 1) and geometry.low == (0, 0) and max(geometry.high) <= 0


# A window of one pixel: matrix products of two dimensions, for XLA transposes operands that have more.


def _pointwise_forward(geometry: Geometry, x: Array, kernel: Array) -> Array:
    x = _every(x, geometry)
    y = _matmul(_rows(x), kernel[0, 0], (1, 0))
    return y.reshape(*x.shape[:-1], -1)


def _pointwise_input_gradient(geometry: Geometry, g: Array, kernel: Array) -> Array:
    dx = _matmul(_rows(g), kernel[0, 0], (1, 1)).reshape(*g.shape[:-1], -1)
    (sh, sw), (h, w), (oh, ow) = geometry.stride, geometry.image, geometry.out
    after_h, after_w = h - (oh - 1) * sh - 1, w - (ow - 1) * sw - 1
    return pad(dx, (0, after_h, sh - 1), (0, after_w, sw - 1))


def _pointwise_kernel_gradient(geometry: Geometry, x: Array, g: Array) -> Array:
    return _matmul(_rows(_every(x, geometry)), _rows(g), (0, 0))[None, None]


# One kernel per channel: sums of shifted products.


def _depthwise_forward(geometry: Geometry, x: Array, kernel: Array, *, padded_once: bool = False) -> Array:
    # Two sums, of every other tap each: a processor adds to both at a time, and to one only after its last addition.
    dtype = accumulator(x.dtype)
    sums = [jnp.zeros((), dtype)] * 2
    for index, (tap, weight) in enumerate(
        zip(taps(geometry, x, padded_once=padded_once), kernel.reshape(-1, kernel.shape[-1]), strict=True)
    ):
        sums[index % 2] += tap.astype(dtype) * weight.astype(dtype)
    return (sums[0] + sums[1]).astype(x.dtype)


# One object, by which `jax.jit` knows the form again.
_depthwise_forward_padded_once = functools.partial(_depthwise_forward, padded_once=True)


def _depthwise_input_gradient(geometry: Geometry, g: Array, kernel: Array) -> Array:
    g = computed_once(g)
    if geometry.stride == (1, 1):
        return _depthwise_forward(_mirrored(geometry), g, kernel[::-1, ::-1])
    # Pixel s * u + r of the padded image meets tap s * q + r at output u - q: one sum over q for all phases r at once.
    dtype = accumulator(g.dtype)
    (sh, sw), (lh, lw), (h, w), (oh, ow) = geometry.stride, geometry.low, geometry.image, geometry.out
    qh, qw = (-(-k // s) for k, s in zip(geometry.window, geometry.stride, strict=True))
    phases = jnp.pad(kernel[:, :, 0], ((0, qh * sh - kernel.shape[0]), (0, qw * sw - kernel.shape[1]), (0, 0)))
    phases = phases.reshape(qh, sh, qw, sw, -1).astype(dtype)
    first_h, first_w = lh // sh, lw // sw
    nh, nw = (lh + h - 1) // sh - first_h + 1, (lw + w - 1) // sw - first_w + 1
    before_h, before_w = qh - 1 - first_h, qw - 1 - first_w
    g = pad(g, (before_h, nh + qh - 1 - oh - before_h, 0), (before_w, nw + qw - 1 - ow - before_w, 0))
    dx = jnp.zeros((), dtype)
    for i in range(qh):
        for j in range(qw):
            tap = g[:, qh - 1 - i :, qw - 1 - j :][:, :nh, :nw].astype(dtype)
            dx += tap[:, :, None, :, None] * phases[i, :, j][:, None]
    dx = dx.astype(g.dtype).reshape(g.shape[0], nh * sh, nw * sw, -1)
    return dx[:, lh - first_h * sh :, lw - first_w * sw :][:, :h, :w]


def _depthwise_kernel_gradient(geometry: Geometry, x: Array, g: Array) -> Array:
    # XLA reduces a product over all but the channels at a crawl. Adding up a few images by hand makes it a plain loop;
    # the taps of one row of the kernel share it, so that what they read is still in the cache.
    dtype = accumulator(x.dtype)
    images = next(n for n in range(min(8, g.shape[0]), 0, -1) if g.shape[0] % n == 0)
    split = (g.shape[0] // images, images)
    g = g.reshape(*split, *g.shape[1:])
    seen = [tap.reshape(*split, *tap.shape[1:]) for tap in taps(geometry, x, padded_once=True)]
    rows = []
    for row in range(geometry.window[0]):
        sums = []
        for tap in seen[row * geometry.window[1] : (row + 1) * geometry.window[1]]:
            products = (tap[:, i].astype(dtype) * g[:, i].astype(dtype) for i in range(images))
            sums.append(sum(products, jnp.zeros((), dtype)))
        stacked = computed_once(jnp.stack(sums, axis=2))  # (b / images, h, kw, w, c)
        flat = stacked.reshape(-1, stacked[0, 0].size).sum(0)
        rows.append(flat.reshape(stacked.shape[2:]).sum(1))
    return jnp.stack(rows)[:, :, None].astype(x.dtype)


# Groups of several channels: some groups at a time as a dense convolution whose kernel is zero between groups. XLA's
# gradients of grouped convolutions are a hundred times slower than the multiplications by zero.


def _grouped_forward(geometry: Geometry, x: Array, kernel: Array) -> Array:
    dense = _block_geometry(geometry)
    form = forward_form(dense) or native_forward
    xs = jnp.split(x, geometry.in_features // dense.in_features, axis=-1)
    parts = [form(dense, x, k) for x, k in zip(xs, _dense_kernels(geometry, kernel), strict=True)]
    return jnp.concatenate(parts, axis=-1)


def _grouped_input_gradient(geometry: Geometry, g: Array, kernel: Array) -> Array:
    dense = _block_geometry(geometry)
    form = input_gradient_form(dense) or native_input_gradient
    gs = jnp.split(g, geometry.out_features // dense.out_features, axis=-1)
    parts = [form(dense, g, k) for g, k in zip(gs, _dense_kernels(geometry, kernel), strict=True)]
    return jnp.concatenate(parts, axis=-1)


def _grouped_kernel_gradient(geometry: Geometry, x: Array, g: Array) -> Array:
    dense = _block_geometry(geometry)
    form = kernel_gradient_form(dense) or native_kernel_gradient
    blocks, i = geometry.in_features // dense.in_features, geometry.in_features // geometry.groups
    merged = dense.in_features // i
    parts = []
    for x_block, g_block in zip(jnp.split(x, blocks, axis=-1), jnp.split(g, blocks, axis=-1), strict=True):
        gradient = form(dense, x_block, g_block).reshape(*geometry.window, merged, i, merged, -1)
        parts.append(jnp.einsum("hwmimo->hwimo", gradient).reshape(*geometry.window, i, dense.out_features))
    return jnp.concatenate(parts, axis=-1)


def _block_geometry(geometry: Geometry) -> Geometry:
    """As many groups as have 64 input channels together: the matrix products are then as fast as large ones."""
    i, o = geometry.in_features // geometry.groups, geometry.out_features // geometry.groups
    merged = next(m for m in range(max(64 // i, 1), 0, -1) if geometry.groups % m == 0)
    return dataclasses.replace(geometry, in_features=merged * i, out_features=merged * o, groups=1)


def _dense_kernels(geometry: Geometry, kernel: Array) -> list[Array]:
    dense = _block_geometry(geometry)
    i, o = geometry.in_features // geometry.groups, geometry.out_features // geometry.groups
    merged = dense.in_features // i
    blocks = kernel.reshape(*geometry.window, i, -1, merged, o)
    spread = jnp.einsum("hwibmo,mn->bhwnimo", blocks, jnp.eye(merged, dtype=kernel.dtype))
    return list(spread.reshape(-1, *geometry.window, dense.in_features, dense.out_features))


# A dense window: Winograd's products where its steps are 1, and its kernel's gradient as products over all pixels.


def _winograd_input_gradient(geometry: Geometry, g: Array, kernel: Array) -> Array:
    return winograd_forward(_mirrored(geometry), g, kernel[::-1, ::-1], transposed=True)


def _kernel_gradient_by_taps(geometry: Geometry, x: Array, g: Array) -> Array:
    products = [_matmul(_rows(tap), _rows(g), (0, 0)) for tap in taps(geometry, x, padded_once=True)]
    return jnp.stack(products).reshape(*geometry.window, geometry.in_features, geometry.out_features)


def _kernel_gradient_by_rows(geometry: Geometry, x: Array, g: Array) -> Array:
    # One product of the input shifted along the rows and the gradient shifted along the columns, for all taps at once:
    # kw copies of x and kh of g, where an im2col makes kh * kw copies of x.
    (kh, kw), ow = geometry.window, geometry.out[1]
    x = pad(x, (geometry.low[0], geometry.high[0], 0), (geometry.low[1], geometry.high[1], 0))
    x = computed_once(x)
    shifted_x = jnp.stack([x[:, :, j : j + ow] for j in range(kw)], axis=3)
    shifted_g = jnp.stack([pad(g, (i, kh - 1 - i, 0), (0, 0, 0)) for i in range(kh)], axis=3)
    rows = x.shape[0] * x.shape[1] * ow
    product = _matmul(shifted_x.reshape(rows, -1), shifted_g.reshape(rows, -1), (0, 0))
    return product.reshape(kw, geometry.in_features, kh, geometry.out_features).transpose(2, 0, 1, 3)


def _mirrored(geometry: Geometry) -> Geometry:
    """Of the input's gradient, which for steps of 1 is the convolution of g with the mirrored kernel."""
    low_h, low_w = (
        d * (k - 1) - low for d, k, low in zip(geometry.dilation, geometry.window, geometry.low, strict=True)
    )
    return dataclasses.replace(
        geometry,
        image=geometry.out,
        out=geometry.image,
        low=(low_h, low_w),
        in_features=geometry.out_features,
        out_features=geometry.in_features,
    )


def _matmul(a: Float[Array, "..."], b: Float[Array, "..."], contract: tuple[int, int]) -> Float[Array, "..."]:
    dimensions = (((contract[0],), (contract[1],)), ((), ()))
    return lax.dot_general(a, b, dimensions, preferred_element_type=accumulator(a.dtype)).astype(a.dtype)


def _rows(x: Array) -> Array:
    return x.reshape(-1, x.shape[-1])


def _every(x: Array, geometry: Geometry) -> Array:
    (sh, sw), (oh, ow) = geometry.stride, geometry.out
    return x[:, ::sh, ::sw][:, :oh, :ow]
