"""XLA's own convolution and its gradients, and what describes one."""

from __future__ import annotations

import dataclasses

import jax
from jax import lax
from jaxtyping import Array


@dataclasses.dataclass(frozen=True)
class Geometry:
    """What is static in a convolution; pairs are (height, width).

    Attributes:
        image: pixels of the input.
        window: taps of the kernel.
        out: pixels of the output.
        low: zeros before the image. Those after it follow from `out`.
        stride: step of the window.
        dilation: distance of the taps.
        in_features: channels of the input.
        out_features: channels of the output.
        groups: number of groups of channels.
    """

    image: tuple[int, int]
    window: tuple[int, int]
    out: tuple[int, int]
    low: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    in_features: int
    out_features: int
    groups: int

    @property
    def high(self) -> tuple[int, int]:
        """Zeros after the image; negative where the last pixels are not reached."""
        h, w = (
            s * (o - 1) + d * (k - 1) + 1 - n - low
            for s, o, d, k, n, low in zip(
                self.stride, self.out, self.dilation, self.window, self.image, self.low, strict=True
            )
        )
        return h, w


def native_forward(geometry: Geometry, x: Array, kernel: Array) -> Array:
    """(b, h, w, i), (kh, kw, i / groups, o) -> (b, oh, ow, o)."""
    return lax.conv_general_dilated(
        x,
        kernel,
        window_strides=geometry.stride,
        padding=tuple(zip(geometry.low, geometry.high, strict=True)),
        rhs_dilation=geometry.dilation,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=geometry.groups,
    )


def native_input_gradient(geometry: Geometry, g: Array, kernel: Array) -> Array:
    """The gradient by x, given the gradient g by the output."""
    # Like g, so that inside jax.shard_map x varies over the mesh where g does: the gradient of an x that did not would
    # be summed over the devices.
    x = lax.full_like(g, 0, shape=(g.shape[0], *geometry.image, geometry.in_features))
    return jax.linear_transpose(lambda x: native_forward(geometry, x, kernel), x)(g)[0]


def native_kernel_gradient(geometry: Geometry, x: Array, g: Array) -> Array:
    """The gradient by the kernel, given the gradient g by the output."""
    shape = (*geometry.window, geometry.in_features // geometry.groups, geometry.out_features)
    kernel = lax.full_like(g, 0, shape=shape)  # like g: see above
    return jax.linear_transpose(lambda kernel: native_forward(geometry, x, kernel), kernel)(g)[0]
