"""Mixed convolution (Tan and Le 2019, "MixConv", arXiv:1907.09595): several kernel sizes in one layer."""

from collections.abc import Sequence
from typing import Unpack

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxvision.nn.conv import Conv2d
from jaxvision.nn.layer_args import LayerArgs


class MixedConv2d(nnx.List):
    """Convolutions with kernels of different sizes, each over its own share of the channels, without bias.

    The shares are equal, and the first takes what is left over. They are numbered as in timm: ``0``, ``1``, ...

    Args:
        in_features: channels of the input.
        out_features: channels of the output.
        kernel_sizes: one odd size a share.
        stride: of all.
        dilation: of all.
        same: pad as TensorFlow does (``SAME``) instead of symmetrically.
        depthwise: a kernel of its own for every channel.

    Raises:
        ValueError: an even kernel size, fewer channels than sizes, or a depthwise one that changes their number.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_sizes: Sequence[int],
        *,
        stride: int = 1,
        dilation: int = 1,
        same: bool = False,
        depthwise: bool = False,
        **layer: Unpack[LayerArgs],
    ):
        if any(size % 2 == 0 for size in kernel_sizes):
            raise ValueError(f"kernel_sizes is {tuple(kernel_sizes)}, expected odd ones: outputs must have one size")
        if depthwise and in_features != out_features:
            raise ValueError(f"depthwise: got {in_features} channels in and {out_features} out, expected as many")
        in_shares = share_channels(in_features, len(kernel_sizes))
        out_shares = share_channels(out_features, len(kernel_sizes))
        super().__init__(
            Conv2d(
                share_in,
                share_out,
                size,
                stride=stride,
                padding="SAME" if same else dilation * (size // 2),
                dilation=dilation,
                groups=share_in if depthwise else 1,
                use_bias=False,
                **layer,
            )
            for size, share_in, share_out in zip(kernel_sizes, in_shares, out_shares, strict=True)
        )

    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b oh ow o"]:
        """Convolves every share and joins the results."""
        shares = jax.lax.split(x, [conv.in_features for conv in self], axis=3)
        return jnp.concatenate([conv(share) for conv, share in zip(self, shares, strict=True)], axis=3)


def share_channels(channels: int, shares: int) -> list[int]:
    """Equal shares, the first with what is left over.

    Raises:
        ValueError: fewer channels than shares.
    """
    if channels < shares:
        raise ValueError(f"{channels} channels cannot be shared by {shares} kernel sizes")
    share = channels // shares
    return [channels - share * (shares - 1), *[share] * (shares - 1)]
