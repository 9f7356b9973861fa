"""The feed-forward halves of transformer blocks."""

from typing import Unpack

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jaxvision.nn.activations import activation
from jaxvision.nn.drop import Dropout, Rngs
from jaxvision.nn.init import nearly_zero, small_normal
from jaxvision.nn.layer_args import LayerArgs
from jaxvision.nn.linear import Linear
from jaxvision.nn.norm import LayerNorm
from jaxvision.nn.rms_norm import NormLayer


class Mlp(nnx.Module):
    """Two linear layers with an activation between them (Vaswani et al. 2017, section 3.3).

    Attributes:
        act: the activation, ``default_act`` unless said.
        norm: norm before the second layer, if ``scale_norm`` (Wang et al. 2022, "Foundation Transformers").
    """

    default_act = "gelu"

    def __init__(
        self,
        dim: int,
        hidden_dim: int,
        *,
        act: str | None = None,
        use_bias: bool = True,
        scale_norm: bool = False,
        norm_layer: NormLayer = LayerNorm,
        norm_eps: float = 1e-6,
        drop: float = 0.0,
        **layer: Unpack[LayerArgs],
    ):
        self.act = activation(self.default_act if act is None else act)
        width = self._make_hidden(dim, hidden_dim, use_bias, **layer)
        self.drop1 = Dropout(drop)
        self.norm = norm_layer(width, eps=norm_eps, **layer) if scale_norm else None
        self.fc2 = Linear(width, dim, use_bias=use_bias, kernel_init=small_normal, **layer)
        self.drop2 = Dropout(drop)

    def __call__(self, x: Float[Array, "... c"], rngs: Rngs = None) -> Float[Array, "... c"]:
        """Applies the same layers at every position."""
        x = self.drop1(self._hidden(x), rngs)
        x = x if self.norm is None else self.norm(x)
        return self.drop2(self.fc2(x), rngs)

    def _make_hidden(self, dim: int, hidden_dim: int, use_bias: bool, **layer: Unpack[LayerArgs]) -> int:
        """Makes the layers of `_hidden`; returns the channels that it gives."""
        self.fc1 = Linear(dim, hidden_dim, use_bias=use_bias, kernel_init=small_normal, **layer)
        return hidden_dim

    def _hidden(self, x: Float[Array, "... c"]) -> Float[Array, "... h"]:
        return self.act(self.fc1(x))


class GluMlp(Mlp):
    """A gated MLP (Shazeer 2020), ``fc1`` holding gate and value: ``fc2(act(gate) * value)``; SwiGLU with ``silu``.

    ``hidden_dim`` counts both, and must be even.
    """

    default_act = "silu"

    def _make_hidden(self, dim: int, hidden_dim: int, use_bias: bool, **layer: Unpack[LayerArgs]) -> int:
        if hidden_dim % 2:
            raise ValueError(f"a packed gated MLP needs an even hidden_dim, got {hidden_dim}")
        self.fc1 = Linear(
            dim,
            hidden_dim,
            use_bias=use_bias,
            kernel_init=_halves(small_normal, nearly_zero),
            bias_init=_halves(_zeros, _ones),
            **layer,
        )
        return hidden_dim // 2

    def _hidden(self, x: Float[Array, "... c"]) -> Float[Array, "... h"]:
        gate, value = jnp.split(self.fc1(x), 2, axis=-1)
        return self.act(gate) * value


class SwiGLU(Mlp):
    """A gated MLP whose gate and value are layers of their own: ``fc2(act(fc1_g(x)) * fc1_x(x))``."""

    default_act = "silu"

    def _make_hidden(self, dim: int, hidden_dim: int, use_bias: bool, **layer: Unpack[LayerArgs]) -> int:
        self.fc1_g = Linear(dim, hidden_dim, use_bias=use_bias, kernel_init=nearly_zero, bias_init=_ones, **layer)
        self.fc1_x = Linear(dim, hidden_dim, use_bias=use_bias, kernel_init=small_normal, **layer)
        return hidden_dim

    def _hidden(self, x: Float[Array, "... c"]) -> Float[Array, "... h"]:
        return self.act(self.fc1_g(x)) * self.fc1_x(x)


_zeros, _ones = nnx.initializers.zeros, nnx.initializers.ones


def _halves(first: nnx.Initializer, second: nnx.Initializer) -> nnx.Initializer:
    """Initialises the halves of the last axis apart: a gated product starts as an ungated MLP, one factor being 1."""

    def init(key: jax.Array, shape: tuple[int, ...], dtype: DTypeLike = jnp.float32) -> Array:
        half = (*shape[:-1], shape[-1] // 2)
        keys = jax.random.split(key)
        return jnp.concatenate([first(keys[0], half, dtype), second(keys[1], half, dtype)], axis=-1)

    return init
