"""Pooling: over windows as PyTorch pads it, over the whole map, and by attention."""

from collections.abc import Sequence
from typing import Unpack

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxvision.nn._implementation import chosen_implementation
from jaxvision.nn._max_pool import max_pool as own_max_pool
from jaxvision.nn._max_pool import native_max_pool
from jaxvision.nn.attention import attend, attention_weights
from jaxvision.nn.init import cut_normal, small_normal
from jaxvision.nn.layer_args import LayerArgs
from jaxvision.nn.linear import Linear
from jaxvision.nn.mlp import Mlp
from jaxvision.nn.norm import LayerNorm
from jaxvision.nn.rms_norm import NormLayer
from jaxvision.paths import suggestion

POOLS = ("avg", "max", "avgmax", "catavgmax", "")
"""The ways to pool a whole map to one vector; see `global_pool`."""

_WINDOW = tuple[int, int, int, int]


def max_pool(x: Float[Array, "b h w c"], window: int, *, stride: int, padding: int = 0) -> Float[Array, "b H W c"]:
    """Maximum over square windows, padded by ``padding`` of minus infinity on every side.

    Forward mode (`jax.jvp`) goes through ``with jaxvision.nn.conv.implementation("native")``.
    """
    pool = native_max_pool if chosen_implementation() == "native" else own_max_pool
    return pool(window, stride, padding, x)


def avg_pool(
    x: Float[Array, "b h w c"], window: int, *, stride: int, ceil_mode: bool = False, count_include_pad: bool = True
) -> Float[Array, "b H W c"]:
    """Mean over square windows.

    With ``ceil_mode`` a last, incomplete window counts; with ``count_include_pad`` false it is the mean of what is
    there.
    """
    extra = [(-(side - window) % stride) if ceil_mode else 0 for side in x.shape[1:3]]
    sides = ((0, 0), (0, extra[0]), (0, extra[1]), (0, 0))
    size: _WINDOW = (1, window, window, 1)

    def total(values: Array) -> Array:
        return jax.lax.reduce_window(values, 0.0, jax.lax.add, size, (1, stride, stride, 1), sides)

    if count_include_pad or not any(extra):
        return total(x) / window**2
    return total(x) / total(jnp.ones((1, *x.shape[1:3], 1), x.dtype))


def shrink(x: Float[Array, "b h w c"], *, stride: int, dilation: int = 1) -> Float[Array, "b H W c"]:
    """Means of 2x2 pixels where a shortcut would stride or, in a dilated stage, would have strided; else ``x``.

    The shortcut of the ``d`` ResNets (He et al. 2019, figure 2c). In a dilated stage zeros after the image count, as in
    timm.
    """
    if dilation > 1:
        return avg_pool(jnp.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0))), 2, stride=1)
    return x if stride == 1 else avg_pool(x, 2, stride=stride, ceil_mode=True, count_include_pad=False)


def global_pool(x: Float[Array, "b h w c"], kind: str = "avg") -> Float[Array, "b c"]:
    """Pools a feature map to one vector, as timm names the ways.

    Args:
        x: the map.
        kind: ``"avg"``, ``"max"``, ``"avgmax"`` (their mean), ``"catavgmax"`` (both, one after the other: twice the
            channels) or ``""`` (the map as it is).

    Raises:
        ValueError: another kind.
    """
    if kind == "":
        return x
    if kind == "catavgmax":
        return jnp.concatenate([pool_over(x, (1, 2), "avg"), pool_over(x, (1, 2), "max")], axis=-1)
    return pool_over(x, (1, 2), kind)


def pooled_width(channels: int, kind: str) -> int:
    """Channels that `global_pool` makes of so many.

    Raises:
        ValueError: there is no such kind of pooling.
    """
    if kind not in POOLS:
        near = suggestion(kind.removeprefix("fast"), POOLS)
        raise ValueError(f"unknown global_pool {kind!r}{near or ';'} there are {', '.join(map(repr, POOLS))}")
    return 2 * channels if kind == "catavgmax" else channels


def pool_over(x: Array, axes: Sequence[int], kind: str) -> Array:
    """``avg``, ``max`` or ``avgmax`` over some axes; means are taken in float32."""
    axes = tuple(axes)
    if kind == "avg":
        return _mean(x, axes)
    if kind == "max":
        return jnp.max(x, axes)
    if kind == "avgmax":
        return 0.5 * (_mean(x, axes) + jnp.max(x, axes))
    raise ValueError(f"unknown pooling {kind!r}; there are 'avg', 'max' and 'avgmax'")


def _mean(x: Array, axes: tuple[int, ...]) -> Array:
    return jnp.mean(x, axes, dtype=jnp.float32).astype(x.dtype)


class AttentionPoolLatent(nnx.Module):
    """Pooling by a learnt query that attends to all tokens, then an MLP: MAP (Zhai et al. 2022, section 3.2)."""

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        mlp_ratio: float = 4.0,
        norm_layer: NormLayer = LayerNorm,
        norm_eps: float = 1e-6,
        act: str = "gelu",
        **layer: Unpack[LayerArgs],
    ):
        self.num_heads = num_heads
        init = cut_normal(dim**-0.5)
        self.latent = nnx.Param(init(layer["rngs"].params(), (1, 1, dim), layer.get("param_dtype", jnp.float32)))
        self.q = Linear(dim, dim, kernel_init=small_normal, **layer)
        self.kv = Linear(dim, 2 * dim, kernel_init=small_normal, **layer)
        self.proj = Linear(dim, dim, kernel_init=small_normal, **layer)
        self.norm = norm_layer(dim, eps=norm_eps, **layer)
        self.mlp = Mlp(dim, int(dim * mlp_ratio), act=act, **layer)

    def __call__(self, x: Float[Array, "b n c"]) -> Float[Array, "b c"]:
        """Pools the tokens."""
        x = attend(*self._projected(x))
        x = self.proj(x.reshape(*x.shape[:2], -1))
        x = x + self.mlp(self.norm(x))
        return x[:, 0]

    def weights(self, x: Float[Array, "b n c"]) -> Float[Array, "b heads 1 n"]:
        """How much the learnt query attends to each token, in float32."""
        query, key, _ = self._projected(x)
        return attention_weights(query, key)

    def _projected(self, x: Float[Array, "b n c"]) -> tuple[Array, Array, Array]:
        batch, tokens, dim = x.shape
        heads = (self.num_heads, dim // self.num_heads)
        latent = jnp.broadcast_to(self.latent[...].astype(x.dtype), (batch, 1, dim))
        keys_values = self.kv(x).reshape(batch, tokens, 2, *heads)
        return self.q(latent).reshape(batch, 1, *heads), keys_values[:, :, 0], keys_values[:, :, 1]


def refined_pool(x: Float[Array, "b n c"], num_heads: int, kind: str) -> Float[Array, "b c"]:
    """Tokens refined by attention without any parameter, then the first token or their mean.

    Called PRR, patch representation refinement, in "Locality-Attending Vision Transformer" (ICLR 2026).

    Args:
        x: the tokens.
        num_heads: heads, by which the channels are divided.
        kind: ``"token"`` or ``"avg"``.
    """
    heads = x.reshape(*x.shape[:-1], num_heads, -1)
    x = attend(heads, heads, heads).reshape(x.shape)
    return x[:, 0] if kind == "token" else pool_over(x, (1,), kind)
