"""Differential attention (Ye et al. 2024, "Differential Transformer")."""

import math
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jaxvision.nn.attention import Attention, Heads, attention_weights
from jaxvision.nn.drop import Rngs
from jaxvision.nn.init import normal
from jaxvision.nn.layer_args import LayerArgs
from jaxvision.nn.rms_norm import RMSNorm


class DiffHeads(Heads):
    """Heads of two attention maps each, one of which is taken from the other (Ye et al. 2024, eq. 1 and 2).

    What a block that attends is derived from, before its plain form, to have such heads instead. Dropout of the
    attention weights sees both maps, before the difference is taken.

    Args:
        index: number of the block in the network from 0, which sets ``lambda_init``.

    Attributes:
        lambda_q1, lambda_k1, lambda_q2, lambda_k2: parameters, (head_dim / 2,), float32; the second map's factor is
            ``exp(lambda_q1 . lambda_k1) - exp(lambda_q2 . lambda_k2) + lambda_init``.
        lambda_init: ``0.8 - 0.6 exp(-0.3 index)``.
        sub_norm: norm over the channels of a head, for all heads the same.
    """

    maps = 2
    per_block = ("lambda_init",)

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        index: int = 0,
        dtype: DTypeLike | None = None,
        param_dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
        **options: Any,
    ):
        layer: LayerArgs = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        super().__init__(dim, num_heads, **options, **layer)
        channels = dim // num_heads // self.maps

        def vector() -> nnx.Param:
            return nnx.Param(normal(0.1)(rngs.params(), (channels,), jnp.float32))

        self.lambda_q1, self.lambda_k1, self.lambda_q2, self.lambda_k2 = vector(), vector(), vector(), vector()
        self.lambda_init = 0.8 - 0.6 * math.exp(-0.3 * index)
        self.sub_norm = RMSNorm(dim // num_heads, eps=1e-5, **layer)

    def attend(
        self,
        query: Float[Array, "*b n c"],
        key: Float[Array, "*b n c"],
        value: Float[Array, "*b n c"],
        rngs: Rngs = None,
        bias: Float[Array, "*#b #heads n n"] | None = None,
    ) -> Float[Array, "*b n c"]:
        """Splits projected tokens into heads, attends differentially, norms every head, and joins them again."""
        query, key = self.normed(self.split(query, self.maps), self.split(key, self.maps))
        value = self.split(value)
        if bias is not None and bias.shape[-3] > 1:
            bias = jnp.repeat(bias, self.maps, axis=-3)
        weights = self.attn_drop(attention_weights(query, key, bias), rngs)
        weights = self.difference(weights).astype(value.dtype)
        x = self.sub_norm(jnp.einsum("...hqk,...khd->...qhd", weights, value))
        x = x * jnp.asarray(1 - self.lambda_init, x.dtype)
        return x.reshape(*x.shape[:-2], -1)

    def difference(self, weights: Float[Array, "*b maps*heads q k"]) -> Float[Array, "*b heads q k"]:
        """The first attention map of each head less its share of the second."""
        return weights[..., ::2, :, :] - self._factor() * weights[..., 1::2, :, :]

    def _factor(self) -> Float[Array, ""]:
        first = jnp.exp(jnp.sum(self.lambda_q1[...] * self.lambda_k1[...]))
        second = jnp.exp(jnp.sum(self.lambda_q2[...] * self.lambda_k2[...]))
        return first - second + self.lambda_init


class DiffAttention(DiffHeads, Attention):
    """Multi-head self-attention with differential heads."""
