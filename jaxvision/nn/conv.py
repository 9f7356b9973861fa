"""Two-dimensional convolution, NHWC with HWIO kernels."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Literal, TypeAlias, get_args

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float

IntPair: TypeAlias = int | tuple[int, int]
Padding: TypeAlias = int | tuple[int, int] | Literal["SAME"]
Pads: TypeAlias = tuple[tuple[int, int], tuple[int, int]]
Implementation: TypeAlias = Literal["auto", "native"]

_implementation = jax.make_user_context("auto")  # type: ignore[no-untyped-call]


@contextlib.contextmanager
def implementation(name: Implementation) -> Iterator[None]:
    """Choose how `conv2d` computes inside a `with` block.

    The choice is part of the key of `jax.jit`'s caches: a function that was compiled outside the block is compiled
    again inside it.

    Args:
        name: "auto" for the fastest form for the platform, "native" for XLA's convolution everywhere.

    Raises:
        ValueError: if `name` is neither.
    """
    with _implementation(_checked_implementation(name)):
        yield


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
    _checked_implementation(_implementation.value if implementation is None else implementation)
    dtype = jnp.result_type(x, kernel)
    return lax.conv_general_dilated(
        x.astype(dtype),
        kernel.astype(dtype),
        window_strides=stride,
        padding=pads,
        rhs_dilation=dilation,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


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
            kernel_init = nnx.initializers.variance_scaling(2.0 * groups, "fan_out", "normal")
        shape = (*self.kernel_size, in_features // groups, out_features)
        self.kernel = nnx.Param(kernel_init(rngs.params(), shape, param_dtype))
        self.bias = nnx.Param(jnp.zeros((out_features,), param_dtype)) if use_bias else None

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


def _checked_implementation(name: Implementation) -> Implementation:
    if name not in get_args(Implementation):
        raise ValueError(
            f"implementation is {name!r}, expected one of {', '.join(map(repr, get_args(Implementation)))}"
        )
    return name


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
