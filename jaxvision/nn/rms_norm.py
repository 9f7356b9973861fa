"""Root mean square normalisation."""

from collections.abc import Callable
from typing import TypeAlias, Unpack

from flax import nnx

from jaxvision.nn.layer_args import LayerArgs
from jaxvision.nn.norm import LayerNorm


class RMSNorm(nnx.RMSNorm):
    """Divides by the root mean square over the last axis: no mean, no bias (Zhang and Sennrich 2019, eq. 4)."""

    def __init__(self, num_features: int, *, eps: float = 1e-6, **layer: Unpack[LayerArgs]):
        super().__init__(num_features, epsilon=eps, **layer)


TokenNorm: TypeAlias = LayerNorm | RMSNorm
"""A norm over the channels of every token."""

NormLayer: TypeAlias = Callable[..., TokenNorm]
"""Makes one: ``norm_layer(num_features, eps=..., **layer)``."""
