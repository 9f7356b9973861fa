"""Two-dimensional convolution, NHWC with HWIO kernels."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Literal, TypeAlias

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jaxvision.nn._conv_cpu import Form, forward_form, input_gradient_form, kernel_gradient_form
from jaxvision.nn._conv_native import Geometry, native_forward, native_input_gradient, native_kernel_gradient
from jaxvision.nn._implementation import Implementation as Implementation
from jaxvision.nn._implementation import chosen_implementation
from jaxvision.nn._implementation import implementation as implementation
from jaxvision.nn._varying import vary_alike
from jaxvision.nn.init import constant, google_conv

IntPair: TypeAlias = int | tuple[int, int]
Padding: TypeAlias = int | tuple[int, int] | Literal["SAME"]
Pads: TypeAlias = tuple[tuple[int, int], tuple[int, int]]


def conv2d(
    x: Float[Array, "b h w i"],
    kernel: Float[Array, "kh kw i_per_group o"],
    *,
    stride: IntPair = 1,
    padding: Padding = 0,
    dilation: IntPair = 1,
    groups: int = 1,
    implementation: Implementation | None = None,
) -> Float[Array, "b oh ow o"]:
    """Convolve (cross-correlate) a batch of images with a kernel.

    The output has floor((n + pads - (k - 1) * dilation - 1) / stride) + 1 rows (columns) for n input rows (columns).

    Args:
        x: images; computed in the promoted dtype of `x` and `kernel`.
        kernel: output channels are ordered by group.
        stride: step of the window, in pixels (height, width).
        padding: pixels of zeros added on both sides of (height, width), as PyTorch has it, or "SAME": TensorFlow's,
            ceil(n / stride) outputs, with the odd pixel of padding after the image.
        dilation: distance of the kernel's taps, in pixels (height, width).
        groups: number of groups of channels that do not see each other.
        implementation: "auto" or "native" (XLA's convolution on every platform). By default the choice of the innermost
            `jaxvision.nn.conv.implementation` block, which is "auto" if there is none.

    Raises:
        ValueError: if channels, groups and kernel do not fit together, or the window is larger than the padded image.
    """
    stride, dilation = _pair(stride, "stride", 1), _pair(dilation, "dilation", 1)
    _check_shapes(x.shape, kernel.shape, groups)
    pads = _resolve_padding(padding, x.shape[1:3], kernel.shape[:2], stride, dilation)
    geometry = _geometry(x.shape, kernel.shape, pads, stride, dilation, groups)
    dtype = jnp.result_type(x, kernel)
    x, kernel = x.astype(dtype), kernel.astype(dtype)
    chosen = chosen_implementation(implementation)
    forms = forward_form(geometry), input_gradient_form(geometry), kernel_gradient_form(geometry)
    if chosen == "native" or not any(forms) or x.size == 0 or not jnp.issubdtype(dtype, jnp.floating):
        return native_forward(geometry, x, kernel)
    return _forward(geometry, *vary_alike(x, kernel))


class Conv2d(nnx.Module):
    """A convolution with its `kernel` (kh, kw, in_features / groups, out_features) and `bias` (out_features,).

    Args:
        in_features: channels of the input.
        out_features: channels of the output.
        kernel_size: (height, width) of the window in taps.
        stride: see `conv2d`, as are `padding`, `dilation` and `groups`.
        use_bias: whether a bias is added.
        kernel_init: by default normal with variance 2 / (kh * kw * out_features / groups) (He et al. 2015, section 2.2,
            backward case, for one group).
        dtype: of the computation; None for the promoted dtype of input and parameters.
        param_dtype: of the parameters.
        rngs: stream `params` draws the kernel.

    Raises:
        ValueError: if `groups` does not divide both numbers of channels, or a size is not positive.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: IntPair,
        *,
        stride: IntPair = 1,
        padding: Padding = 0,
        dilation: IntPair = 1,
        groups: int = 1,
        use_bias: bool = True,
        kernel_init: nnx.Initializer | None = None,
        dtype: DTypeLike | None = None,
        param_dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ) -> None:
        if groups < 1 or in_features % groups or out_features % groups:
            raise ValueError(f"groups={groups} must divide in_features={in_features} and out_features={out_features}")
        self.in_features = in_features
        self.out_features = out_features
        self.kernel_size = _pair(kernel_size, "kernel_size", 1)
        self.stride = _pair(stride, "stride", 1)
        self.padding: Padding = padding if padding == "SAME" else _pair(padding, "padding", 0)
        self.dilation = _pair(dilation, "dilation", 1)
        self.groups = groups
        self.dtype = dtype
        if kernel_init is None:
            kernel_init = google_conv(groups)
        shape = (*self.kernel_size, in_features // groups, out_features)
        self.kernel = nnx.Param(kernel_init(rngs.params(), shape, param_dtype))
        self.bias = nnx.Param(constant(0, out_features, param_dtype)) if use_bias else None

    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b oh ow o"]:
        """Convolve `x` and add the bias."""
        kernel = self.kernel[...]
        dtype = jnp.result_type(x, kernel) if self.dtype is None else self.dtype
        y = conv2d(
            x.astype(dtype),
            kernel.astype(dtype),
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
        )
        return y if self.bias is None else y + self.bias[...].astype(dtype)


# The convolution and its two gradients are the three slots of one trilinear sum (over p, t, i, o) of
# x[p + t, i] kernel[t, i, o] g[p, o]: the gradients of each of them are the two others.


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _forward(geometry: Geometry, x: Array, kernel: Array) -> Array:
    return _on_platform(forward_form(geometry), native_forward, geometry, x, kernel)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _input_gradient(geometry: Geometry, g: Array, kernel: Array) -> Array:
    return _on_platform(input_gradient_form(geometry), native_input_gradient, geometry, g, kernel)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _kernel_gradient(geometry: Geometry, x: Array, g: Array) -> Array:
    return _on_platform(kernel_gradient_form(geometry), native_kernel_gradient, geometry, x, g)


def _with_residuals(op: Form) -> Callable[[Geometry, Array, Array], tuple[Array, tuple[Array, Array]]]:
    return lambda geometry, a, b: (op(geometry, a, b), (a, b))


def _forward_with_residuals(geometry: Geometry, x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return _on_platform(forward_form(geometry, differentiated=True), native_forward, geometry, x, kernel), (x, kernel)


_forward.defvjp(
    _forward_with_residuals,
    lambda geometry, xk, g: (_input_gradient(geometry, g, xk[1]), _kernel_gradient(geometry, xk[0], g)),
)
_input_gradient.defvjp(
    _with_residuals(_input_gradient),
    lambda geometry, gk, x: (_forward(geometry, x, gk[1]), _kernel_gradient(geometry, x, gk[0])),
)
_kernel_gradient.defvjp(
    _with_residuals(_kernel_gradient),
    lambda geometry, xg, kernel: (_input_gradient(geometry, xg[1], kernel), _forward(geometry, xg[0], kernel)),
)


# Compiled as one also where the caller is not: the forms are fast because XLA fuses their many small steps.
@functools.partial(jax.jit, static_argnums=(0, 1, 2), inline=True)
def _on_platform(cpu: Form | None, native: Form, geometry: Geometry, a: Array, b: Array) -> Array:
    if cpu is None:
        return native(geometry, a, b)
    return lax.platform_dependent(
        a, b, cpu=functools.partial(cpu, geometry), default=functools.partial(native, geometry)
    )


def _geometry(
    x: tuple[int, ...],
    kernel: tuple[int, ...],
    pads: Pads,
    stride: tuple[int, int],
    dilation: tuple[int, int],
    groups: int,
) -> Geometry:
    oh, ow = (
        (n + low + high - d * (k - 1) - 1) // s + 1
        for n, (low, high), d, k, s in zip(x[1:3], pads, dilation, kernel[:2], stride, strict=True)
    )
    return Geometry(
        image=(x[1], x[2]),
        window=(kernel[0], kernel[1]),
        out=(oh, ow),
        low=(pads[0][0], pads[1][0]),
        stride=stride,
        dilation=dilation,
        in_features=x[3],
        out_features=kernel[3],
        groups=groups,
    )


def _pair(value: IntPair, name: str, minimum: int) -> tuple[int, int]:
    pair = (value, value) if isinstance(value, int) else tuple(value)
    if len(pair) != 2 or not all(isinstance(v, int) and v >= minimum for v in pair):
        raise ValueError(f"{name} is {value!r}, expected an int or a pair of ints of at least {minimum}")
    return pair


def _check_shapes(x: tuple[int, ...], kernel: tuple[int, ...], groups: int) -> None:
    if len(x) != 4 or len(kernel) != 4:
        raise ValueError(f"got images {x} and kernel {kernel}, expected (b, h, w, c) and (kh, kw, c / groups, out)")
    if groups < 1 or kernel[3] % groups:
        raise ValueError(f"groups={groups} does not divide the {kernel[3]} output channels of kernel {kernel}")
    if x[3] != kernel[2] * groups:
        raise ValueError(
            f"got images with {x[3]} channels (shape {x}, channels last), expected {kernel[2] * groups} "
            f"for kernel {kernel} with groups={groups}"
        )


def _resolve_padding(
    padding: Padding,
    size: tuple[int, ...],
    kernel_size: tuple[int, ...],
    stride: tuple[int, int],
    dilation: tuple[int, int],
) -> Pads:
    window = [(k - 1) * d + 1 for k, d in zip(kernel_size, dilation, strict=True)]
    if padding == "SAME":
        total = [max((math.ceil(n / s) - 1) * s + w - n, 0) for n, s, w in zip(size, stride, window, strict=True)]
        pads = [(t // 2, t - t // 2) for t in total]
    elif isinstance(padding, str):
        raise ValueError(f"padding is {padding!r}, expected 'SAME', an int or a pair of ints")
    else:
        pads = [(p, p) for p in _pair(padding, "padding", 0)]
    for n, w, (low, high), axis in zip(size, window, pads, ("height", "width"), strict=True):
        if n + low + high < w:
            raise ValueError(
                f"the window covers {w} pixels of {axis}, but the image has {n} and padding {low} + {high}: "
                f"use a larger image or padding"
            )
    return pads[0], pads[1]
