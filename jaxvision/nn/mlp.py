"""The feed-forward halves of transformer blocks."""

from typing import Unpack

from flax import nnx
from jaxtyping import Array, Float

from jaxvision.nn.activations import activation
from jaxvision.nn.drop import Dropout, Rngs
from jaxvision.nn.init import trunc_normal
from jaxvision.nn.layer_args import LayerArgs


class Mlp(nnx.Module):
    """Two linear layers with an activation between them (Vaswani et al. 2017, section 3.3)."""

    def __init__(self, dim: int, hidden_dim: int, *, act: str = "gelu", drop: float = 0.0, **layer: Unpack[LayerArgs]):
        self.act = activation(act)
        self.fc1 = nnx.Linear(dim, hidden_dim, kernel_init=trunc_normal, **layer)
        self.drop1 = Dropout(drop)
        self.fc2 = nnx.Linear(hidden_dim, dim, kernel_init=trunc_normal, **layer)
        self.drop2 = Dropout(drop)

    def __call__(self, x: Float[Array, "... c"], rngs: Rngs = None) -> Float[Array, "... c"]:
        """Applies the same two layers at every position."""
        x = self.drop1(self.act(self.fc1(x)), rngs)
        return self.drop2(self.fc2(x), rngs)


class GluMlp(nnx.Module):
    """A gated MLP (Shazeer 2020), ``fc1`` holding gate and value: ``fc2(act(gate) * value)``; SwiGLU with ``silu``."""

    def __init__(self, dim: int, hidden_dim: int, *, act: str = "silu", drop: float = 0.0, **layer: Unpack[LayerArgs]):
        if hidden_dim % 2:
            raise ValueError(f"a packed gated MLP needs an even hidden_dim, got {hidden_dim}")
        self.act = activation(act)
        self.fc1 = nnx.Linear(dim, hidden_dim, kernel_init=trunc_normal, **layer)
        self.drop1 = Dropout(drop)
        self.fc2 = nnx.Linear(hidden_dim // 2, dim, kernel_init=trunc_normal, **layer)
        self.drop2 = Dropout(drop)

    def __call__(self, x: Float[Array, "... c"], rngs: Rngs = None) -> Float[Array, "... c"]:
        """Applies the same layers at every position."""
        x = self.fc1(x)
        half = x.shape[-1] // 2
        x = self.drop1(self.act(x[..., :half]) * x[..., half:], rngs)
        return self.drop2(self.fc2(x), rngs)
