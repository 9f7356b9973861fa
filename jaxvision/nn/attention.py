"""Multi-head self-attention (Vaswani et al. 2017, section 3.2), fused where nothing is dropped from its weights."""

from functools import partial
from typing import Unpack

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxvision.interception import unfuses
from jaxvision.nn.drop import Dropout, Rngs
from jaxvision.nn.init import small_normal
from jaxvision.nn.layer_args import LayerArgs
from jaxvision.nn.linear import Linear
from jaxvision.nn.norm import LayerNorm
from jaxvision.nn.rms_norm import NormLayer


def attend(
    query: Float[Array, "*b q heads d"],
    key: Float[Array, "*b k heads d"],
    value: Float[Array, "*b k heads d"],
    *,
    bias: Float[Array, "*#b #heads q k"] | None = None,
    scale: float | None = None,
    dropout: Dropout | None = None,
    rngs: Rngs = None,
) -> Float[Array, "*b q heads d"]:
    """``softmax(scale query key^T + bias) value``, the softmax in float32; ``scale`` is ``1 / sqrt(d)`` unless given.

    With an active ``dropout``, or one with a hook that asks for it (see `jaxvision.interception.unfuses`), the weights
    are written out and passed through it, and every example and head gets a mask of its own; otherwise it is
    `jax.nn.dot_product_attention`. A ``bias`` of fewer batch axes is shared over the leading ones.
    """
    if dropout is None or not (dropout.active(rngs) or unfuses(dropout)):
        return _fused(query, key, value, bias, scale)
    weights = dropout(attention_weights(query, key, bias, scale), rngs).astype(value.dtype)
    return jnp.einsum("...hqk,...khd->...qhd", weights, value)


def attention_weights(
    query: Float[Array, "*b q heads d"],
    key: Float[Array, "*b k heads d"],
    bias: Float[Array, "*#b #heads q k"] | None = None,
    scale: float | None = None,
) -> Float[Array, "*b heads q k"]:
    """``softmax(scale query key^T + bias)`` in float32; ``scale`` is ``1 / sqrt(d)`` unless given."""
    logits = jnp.einsum("...qhd,...khd->...hqk", query, key, preferred_element_type=jnp.float32)
    logits = logits / query.shape[-1] ** 0.5 if scale is None else logits * scale
    return jax.nn.softmax(logits if bias is None else logits + bias.astype(jnp.float32), axis=-1)


def _fused(query: Array, key: Array, value: Array, bias: Array | None, scale: float | None) -> Array:
    if query.ndim == 4:
        bias = bias if bias is None or bias.ndim == 4 else bias[None]
        return jax.nn.dot_product_attention(query, key, value, bias, scale=scale)
    shared = bias is None or bias.ndim < query.ndim
    inner = partial(_fused, scale=scale)
    return jax.vmap(inner, in_axes=(0, 0, 0, None if shared else 0))(query, key, value, bias)


class Heads(nnx.Module):
    """What every block that attends has besides its projections: heads, and what is done inside of one.

    Attributes:
        num_heads: number of heads.
        q_norm, k_norm: norms over the channels of a head (Dehghani et al. 2023, section 2), if ``qk_norm``.
        attn_drop: dropout of the attention weights.
    """

    maps = 1
    """Attention maps per head; they share the channels of its queries and keys."""

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        qk_norm: bool = False,
        norm_layer: NormLayer = LayerNorm,
        norm_eps: float = 1e-6,
        attn_drop: float = 0.0,
        **layer: Unpack[LayerArgs],
    ):
        if dim % (num_heads * self.maps):
            each = f" of {self.maps} attention maps" if self.maps > 1 else ""
            raise ValueError(f"dim {dim} is not divisible by {num_heads} heads{each}")
        self.num_heads = num_heads
        channels = dim // num_heads // self.maps
        self.q_norm = norm_layer(channels, eps=norm_eps, **layer) if qk_norm else None
        self.k_norm = norm_layer(channels, eps=norm_eps, **layer) if qk_norm else None
        self.attn_drop = Dropout(attn_drop)

    def attend(
        self,
        query: Float[Array, "*b n c"],
        key: Float[Array, "*b n c"],
        value: Float[Array, "*b n c"],
        rngs: Rngs = None,
        bias: Float[Array, "*#b #heads n n"] | None = None,
    ) -> Float[Array, "*b n c"]:
        """Splits projected tokens into heads, attends, and joins the heads again."""
        query, key = self.normed(self.split(query, self.maps), self.split(key, self.maps))
        x = attend(query, key, self.split(value), bias=bias, dropout=self.attn_drop, rngs=rngs)
        return x.reshape(*x.shape[:-2], -1)

    def split(self, x: Float[Array, "*b n c"], maps: int = 1) -> Float[Array, "*b n maps*heads d"]:
        """The heads, and of a head its attention maps one after the other."""
        return x.reshape(*x.shape[:-1], maps * self.num_heads, -1)

    def normed(
        self, query: Float[Array, "*b n h d"], key: Float[Array, "*b n h d"]
    ) -> tuple[Float[Array, "*b n h d"], Float[Array, "*b n h d"]]:
        """Queries and keys after their norms, if they have any."""
        if self.q_norm is None or self.k_norm is None:
            return query, key
        return self.q_norm(query), self.k_norm(key)


class Attention(Heads):
    """Multi-head self-attention, as in timm's ViT.

    Attributes:
        qkv: one projection to queries, keys and values.
        norm: norm of what the heads attended to, if ``scale_norm`` (Wang et al. 2022, "Foundation Transformers").
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
        scale_norm: bool = False,
        norm_layer: NormLayer = LayerNorm,
        norm_eps: float = 1e-6,
        attn_drop: float = 0.0,
        proj_drop: float = 0.0,
        **layer: Unpack[LayerArgs],
    ):
        super().__init__(
            dim, num_heads, qk_norm=qk_norm, norm_layer=norm_layer, norm_eps=norm_eps, attn_drop=attn_drop, **layer
        )
        self.qkv = Linear(dim, 3 * dim, use_bias=qkv_bias, kernel_init=small_normal, **layer)
        self.norm = norm_layer(dim, eps=norm_eps, **layer) if scale_norm else None
        self.proj = Linear(dim, dim, use_bias=proj_bias, kernel_init=small_normal, **layer)
        self.proj_drop = Dropout(proj_drop)

    def __call__(
        self, x: Float[Array, "*b n c"], rngs: Rngs = None, bias: Float[Array, "*#b #heads n n"] | None = None
    ) -> Float[Array, "*b n c"]:
        """Attends within the last-but-one axis; ``bias`` is added to the logits (a mask is a bias of ``-inf``)."""
        query, key, value = jnp.split(self.qkv(x), 3, axis=-1)
        x = self.attend(query, key, value, rngs, bias)
        x = x if self.norm is None else self.norm(x)
        return self.proj_drop(self.proj(x), rngs)
