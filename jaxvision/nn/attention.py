"""Multi-head self-attention (Vaswani et al. 2017, section 3.2), fused where nothing is dropped from its weights."""

from typing import Unpack

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxvision.interception import unfuses
from jaxvision.nn.drop import Dropout, Rngs
from jaxvision.nn.init import trunc_normal
from jaxvision.nn.layer_args import LayerArgs
from jaxvision.nn.norm import LayerNorm


def attend(
    query: Float[Array, "*b q heads d"],
    key: Float[Array, "*b k heads d"],
    value: Float[Array, "*b k heads d"],
    *,
    bias: Float[Array, "*#b #heads q k"] | None = None,
    dropout: Dropout | None = None,
    rngs: Rngs = None,
) -> Float[Array, "*b q heads d"]:
    """``softmax(query key^T / sqrt(d) + bias) value``, the softmax in float32.

    With an active ``dropout``, or one with a hook that asks for it (see `jaxvision.interception.unfuses`), the weights are
    written out and passed through it, and every example and head gets a mask of its own; otherwise it is
    `jax.nn.dot_product_attention`. A ``bias`` of fewer batch axes is shared over the leading ones.
    """
    if dropout is None or not (dropout.active(rngs) or unfuses(dropout)):
        return _fused(query, key, value, bias)
    logits = jnp.einsum("...qhd,...khd->...hqk", query, key, preferred_element_type=jnp.float32)
    logits = logits / query.shape[-1] ** 0.5
    if bias is not None:
        logits = logits + bias.astype(jnp.float32)
    weights = dropout(jax.nn.softmax(logits, axis=-1), rngs).astype(value.dtype)
    return jnp.einsum("...hqk,...khd->...qhd", weights, value)


def _fused(query: Array, key: Array, value: Array, bias: Array | None) -> Array:
    if query.ndim == 4:
        bias = bias if bias is None or bias.ndim == 4 else bias[None]
        return jax.nn.dot_product_attention(query, key, value, bias)
    shared = bias is None or bias.ndim < query.ndim
    return jax.vmap(_fused, in_axes=(0, 0, 0, None if shared else 0))(query, key, value, bias)


class Attention(nnx.Module):
    """Multi-head self-attention, as in timm's ViT.

    Attributes:
        qkv: one projection to queries, keys and values.
        q_norm, k_norm: LayerNorm over the channels of a head (Dehghani et al. 2023, section 2), if ``qk_norm``.
        attn_drop: dropout of the attention weights.
        proj: output projection.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        qkv_bias: bool = True,
        proj_bias: bool = True,
        qk_norm: bool = False,
        norm_eps: float = 1e-6,
        attn_drop: float = 0.0,
        proj_drop: float = 0.0,
        **layer: Unpack[LayerArgs],
    ):
        if dim % num_heads:
            raise ValueError(f"dim {dim} is not divisible by {num_heads} heads")
        self.num_heads = num_heads
        head_dim = dim // num_heads
        self.qkv = nnx.Linear(dim, 3 * dim, use_bias=qkv_bias, kernel_init=trunc_normal, **layer)
        self.q_norm = LayerNorm(head_dim, eps=norm_eps, **layer) if qk_norm else None
        self.k_norm = LayerNorm(head_dim, eps=norm_eps, **layer) if qk_norm else None
        self.attn_drop = Dropout(attn_drop)
        self.proj = nnx.Linear(dim, dim, use_bias=proj_bias, kernel_init=trunc_normal, **layer)
        self.proj_drop = Dropout(proj_drop)

    def __call__(
        self, x: Float[Array, "*b n c"], rngs: Rngs = None, bias: Float[Array, "*#b #heads n n"] | None = None
    ) -> Float[Array, "*b n c"]:
        """Attends within the last-but-one axis; ``bias`` is added to the logits (a mask is a bias of ``-inf``)."""
        *batch, tokens, dim = x.shape
        qkv = self.qkv(x).reshape(*batch, tokens, 3, self.num_heads, dim // self.num_heads)
        query, key, value = (qkv[..., index, :, :] for index in range(3))
        if self.q_norm is not None and self.k_norm is not None:
            query, key = self.q_norm(query), self.k_norm(key)
        x = attend(query, key, value, bias=bias, dropout=self.attn_drop, rngs=rngs)
        x = self.proj(x.reshape(*batch, tokens, dim))
        return self.proj_drop(x, rngs)
