"""Transformer blocks in which attention and MLP see the same tokens and share their projections."""

from typing import Unpack

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxvision.nn.activations import activation
from jaxvision.nn.attention import Heads
from jaxvision.nn.diff_attention import DiffHeads
from jaxvision.nn.drop import Dropout, DropPath, Rngs
from jaxvision.nn.init import constant, small_normal
from jaxvision.nn.layer_args import LayerArgs
from jaxvision.nn.linear import Linear
from jaxvision.nn.norm import LayerNorm
from jaxvision.nn.rms_norm import NormLayer
from jaxvision.nn.scale import LayerScale


class ParallelScalingBlock(Heads):
    """Attention and MLP in parallel after one norm and one projection (Dehghani et al. 2023, "ViT-22B", section 2).

    Attributes:
        in_norm: norm before the projection.
        in_proj: projection to the MLP's hidden channels, queries, keys and values.
        mlp_bias: bias of the hidden channels where ``qkv_bias`` is false, (hidden,).
        mlp_drop: dropout of the hidden channels.
        ls: LayerScale of the sum of both, if ``init_values``.
        drop_path: stochastic depth of the sum of both.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        proj_bias: bool = True,
        init_values: float | None = None,
        act: str = "gelu",
        qk_norm: bool = False,
        norm_layer: NormLayer = LayerNorm,
        norm_eps: float = 1e-6,
        attn_drop: float = 0.0,
        proj_drop: float = 0.0,
        drop_path: float = 0.0,
        **layer: Unpack[LayerArgs],
    ):
        super().__init__(
            dim, num_heads, qk_norm=qk_norm, norm_layer=norm_layer, norm_eps=norm_eps, attn_drop=attn_drop, **layer
        )
        param_dtype = layer.get("param_dtype", jnp.float32)
        self.hidden_dim = int(dim * mlp_ratio)
        width = self.hidden_dim + 3 * dim
        self.in_norm = norm_layer(dim, eps=norm_eps, **layer)
        self.in_proj = Linear(dim, width, use_bias=qkv_bias, kernel_init=small_normal, **layer)
        self.mlp_bias = None if qkv_bias else nnx.Param(constant(0, self.hidden_dim, param_dtype))
        self.mlp_act = activation(act)
        self.mlp_drop = Dropout(proj_drop)
        self._make_out(dim, proj_bias, **layer)
        self.ls = None if init_values is None else LayerScale(dim, init_values, param_dtype=param_dtype)
        self.drop_path = DropPath(drop_path)

    def __call__(self, x: Float[Array, "b n c"], train: bool = False, rngs: Rngs = None) -> Float[Array, "b n c"]:
        """Adds to each token what it attends to and what the MLP makes of it."""
        hidden, attended = self._halves(self.in_proj(self.in_norm(x)), rngs)
        branch = self._out(attended, hidden)
        return x + self.drop_path(branch if self.ls is None else self.ls(branch), rngs)

    def _halves(
        self, projected: Float[Array, "b n p"], rngs: Rngs
    ) -> tuple[Float[Array, "b n h"], Float[Array, "b n c"]]:
        hidden, rest = projected[..., : self.hidden_dim], projected[..., self.hidden_dim :]
        query, key, value = jnp.split(rest, 3, axis=-1)
        if self.mlp_bias is not None:
            hidden = hidden + self.mlp_bias[...].astype(hidden.dtype)
        attended = self.attend(query, key, value, rngs)
        return self.mlp_drop(self.mlp_act(hidden), rngs), attended

    def _make_out(self, dim: int, use_bias: bool, **layer: Unpack[LayerArgs]) -> None:
        self.attn_out_proj = Linear(dim, dim, use_bias=use_bias, kernel_init=small_normal, **layer)
        self.mlp_out_proj = Linear(self.hidden_dim, dim, use_bias=use_bias, kernel_init=small_normal, **layer)

    def _out(self, attended: Float[Array, "b n c"], hidden: Float[Array, "b n h"]) -> Float[Array, "b n c"]:
        return self.attn_out_proj(attended) + self.mlp_out_proj(hidden)


class DiffParallelScalingBlock(DiffHeads, ParallelScalingBlock):
    """The same with differential heads, and one output projection for both.

    Attributes:
        out_proj: projection of what is attended to and the hidden channels together.
    """

    def _make_out(self, dim: int, use_bias: bool, **layer: Unpack[LayerArgs]) -> None:
        self.out_proj = Linear(dim + self.hidden_dim, dim, use_bias=use_bias, kernel_init=small_normal, **layer)

    def _out(self, attended: Float[Array, "b n c"], hidden: Float[Array, "b n h"]) -> Float[Array, "b n c"]:
        return self.out_proj(jnp.concatenate([attended, hidden], axis=-1))
