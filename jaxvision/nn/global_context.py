"""Global context attention (Cao et al. 2019, "GCNet", arXiv:1904.11492)."""

from typing import Unpack

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxvision.nn.activations import activation
from jaxvision.nn.conv import Conv2d
from jaxvision.nn.layer_args import LayerArgs
from jaxvision.nn.norm import LayerNorm


class GlobalContext(nnx.Module):
    """Scales each channel by a gate computed from an attention-weighted mean of all positions.

    The paper's GC block with timm's gate: squeeze-excite whose mean is weighted by what one 1x1
    convolution says of every position, with a layer norm in its bottleneck.

    Args:
        features: channels in and out.
        reduced: channels of the bottleneck.
        act: activation in it.
        gate: activation that makes the gate.
    """

    def __init__(
        self, features: int, reduced: int, *, act: str = "relu", gate: str = "sigmoid", **layer: Unpack[LayerArgs]
    ):
        self.gate = activation(gate)
        self.conv_attn = Conv2d(features, 1, 1, **layer)
        self.mlp_scale = _Bottleneck(features, reduced, act, **layer)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Gates the channels of ``x``."""
        logits = self.conv_attn(x)[..., 0].astype(jnp.float32)
        weights = jax.nn.softmax(logits, axis=(1, 2)).astype(x.dtype)
        context = jnp.einsum("bhw,bhwc->bc", weights, x)[:, None, None]
        return x * self.gate(self.mlp_scale(context))


class _Bottleneck(nnx.Module):
    """Two 1x1 convolutions with a norm between them."""

    def __init__(self, features: int, reduced: int, act: str, **layer: Unpack[LayerArgs]):
        self.fc1 = Conv2d(features, reduced, 1, **layer)
        self.norm = LayerNorm(reduced, eps=1e-6, **layer)
        self.act = activation(act)
        self.fc2 = Conv2d(reduced, features, 1, **layer)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        return self.fc2(self.act(self.norm(self.fc1(x))))
