"""Squeeze-and-excitation (Hu et al. 2018)."""

from typing import Unpack

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxvision.nn.activations import activation
from jaxvision.nn.conv import Conv2d
from jaxvision.nn.layer_args import LayerArgs


class SqueezeExcite(nnx.Module):
    """Scales each channel by a gate computed from the means of all channels.

    Args:
        features: channels in and out.
        reduced: channels between the two 1x1 convolutions.
        act: activation between them.
        gate: activation that makes the gate.
        names: what the two convolutions are called: ``conv_reduce, conv_expand`` in EfficientNet, ``fc1, fc2`` in
            ResNet.
    """

    def __init__(
        self,
        features: int,
        reduced: int,
        *,
        act: str = "relu",
        gate: str = "sigmoid",
        names: tuple[str, str] = ("fc1", "fc2"),
        **layer: Unpack[LayerArgs],
    ):
        self.act, self.gate, self.names = activation(act), activation(gate), names
        for name, shape in zip(names, ((features, reduced), (reduced, features)), strict=True):
            setattr(self, name, Conv2d(*shape, 1, **layer))

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Gates the channels of ``x``."""
        reduce, expand = (getattr(self, name) for name in self.names)
        means = jnp.mean(x, (1, 2), keepdims=True, dtype=jnp.float32).astype(x.dtype)
        return x * self.gate(expand(self.act(reduce(means))))
