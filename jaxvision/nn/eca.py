"""Efficient channel attention (Wang et al. 2020, arXiv:1910.03151)."""

import math
from typing import Unpack

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxvision.nn.init import torch_linear
from jaxvision.nn.layer_args import LayerArgs


class EfficientChannelAttention(nnx.Module):
    """Scales each channel by a gate computed from the means of its neighbours, by one short convolution.

    Args:
        features: channels in and out; they set the convolution's width, ``|log2(c) + 1| / 2`` made odd (eq. 12).
    """

    def __init__(self, features: int, **layer: Unpack[LayerArgs]):
        size = neighbours(features)
        self.conv = nnx.Conv(1, 1, (size,), padding=size // 2, use_bias=False, kernel_init=torch_linear, **layer)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Gates the channels of ``x``."""
        means = jnp.mean(x, (1, 2), dtype=jnp.float32).astype(x.dtype)
        gate = jax.nn.sigmoid(self.conv(means[:, :, None]))
        return x * gate[:, None, None, :, 0]


def neighbours(features: int) -> int:
    """Channels that decide on one channel's gate: 3, 5 or 7 for the widths of ResNets."""
    size = int((math.log2(features) + 1) / 2)
    return max(size + 1 - size % 2, 3)
