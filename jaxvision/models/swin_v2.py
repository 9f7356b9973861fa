"""Swin Transformer V2 (Liu et al. 2022, arXiv:2111.09883).

Swin with three changes that let it grow in size and in resolution: norms at the end of the residual branches, cosine
attention, and a small network that computes the position bias of windows of any size.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Unpack

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from jaxvision.models.family import Family
from jaxvision.models.swin import SwinBlock, SwinConfig, SwinTransformer, WindowHeads
from jaxvision.nn.attention import attend
from jaxvision.nn.drop import Rngs
from jaxvision.nn.init import constant, small_normal
from jaxvision.nn.layer_args import LayerArgs
from jaxvision.nn.linear import Linear
from jaxvision.nn.norm import LayerNorm
from jaxvision.nn.patch import neighbourhoods
from jaxvision.nn.position import relative_position_index
from jaxvision.nn.window import Window

_LARGEST_SCALE = 100.0  # temperatures are at least 0.01 (section 3.2)
_STEEPEST_BIAS = 16.0
_BIAS_HIDDEN = 512
_LEAST_LENGTH = 1e-12


@dataclass(frozen=True)
class SwinV2Config(SwinConfig):
    """One row of the table below; the fields are the options of timm's ``SwinTransformerV2``.

    Attributes:
        pretrained_window_sizes: side of the window, per stage, that the position bias was trained with, if it was
            another than now: offsets are measured by it. 0 for this model's own window.
    """

    img_size: int | tuple[int, int] = 256
    window_size: int | Window | tuple[int | Window, ...] = 8
    pretrained_window_sizes: tuple[int, ...] = (0, 0, 0, 0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.pretrained_window_sizes) < len(self.depths):
            raise ValueError(
                f"pretrained_window_sizes {self.pretrained_window_sizes} must have one entry per stage: "
                f"{len(self.depths)}"
            )


class CosineWindowAttention(WindowHeads):
    """Attention within windows by cosines, with a bias computed from offsets (section 3.2 and 3.3, eq. 2 to 4).

    Cosines, their scale and the bias are computed in float32.

    Args:
        pretrained_window: side of the window that offsets are measured by; 0 for ``window``.

    Attributes:
        logit_scale: parameter, (heads, 1, 1): the logarithm of the inverse temperature.
        cpb_mlp: layers 0 and 2 of the network that computes the bias.
        q_bias, v_bias: parameters, (dim,), if ``qkv_bias``; keys have none.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        window: Window,
        *,
        qkv_bias: bool = True,
        pretrained_window: int = 0,
        attn_drop: float = 0.0,
        proj_drop: float = 0.0,
        **layer: Unpack[LayerArgs],
    ):
        super().__init__(dim, num_heads, window, attn_drop=attn_drop, proj_drop=proj_drop, **layer)
        self.pretrained_window = pretrained_window
        param_dtype = layer.get("param_dtype", jnp.float32)
        scale = constant(math.log(10), num_heads, param_dtype)
        self.logit_scale = nnx.Param(jnp.reshape(scale, (num_heads, 1, 1)))
        in_float32: LayerArgs = {**layer, "dtype": jnp.float32}
        self.cpb_mlp = nnx.List(
            [
                Linear(2, _BIAS_HIDDEN, kernel_init=small_normal, **in_float32),
                jax.nn.relu,
                Linear(_BIAS_HIDDEN, num_heads, use_bias=False, kernel_init=small_normal, **in_float32),
            ]
        )
        self.qkv = Linear(dim, 3 * dim, use_bias=False, kernel_init=small_normal, **layer)
        self.q_bias = nnx.Param(constant(0, dim, param_dtype)) if qkv_bias else None
        self.v_bias = nnx.Param(constant(0, dim, param_dtype)) if qkv_bias else None

    def project(self, x: Float[Array, "b windows n c"]) -> Sequence[Float[Array, "b windows n c"]]:
        """Queries, keys and values, by one layer; a bias for all but the keys."""
        query, key, value = jnp.split(self.qkv(x), 3, axis=-1)
        if self.q_bias is None or self.v_bias is None:
            return query, key, value
        return query + self.q_bias[...].astype(x.dtype), key, value + self.v_bias[...].astype(x.dtype)

    def bias(self) -> Float[Array, "1 heads n n"]:
        """The bias of every pair of positions, between 0 and 16."""
        layers: Any = self.cpb_mlp
        x = log_spaced_offsets(self.window, self.pretrained_window)
        for layer in layers:
            x = layer(x)
        table = _STEEPEST_BIAS * jax.nn.sigmoid(x)
        return table[relative_position_index(self.window)].transpose(2, 0, 1)[None]

    def attend(
        self,
        query: Float[Array, "b windows n heads d"],
        key: Float[Array, "b windows n heads d"],
        value: Float[Array, "b windows n heads d"],
        bias: Float[Array, "#windows heads n n"],
        rngs: Rngs,
    ) -> Float[Array, "b windows n heads d"]:
        """Attention by cosines, each head's times a scale."""
        scale = jnp.exp(jnp.minimum(self.logit_scale[..., 0].astype(jnp.float32), math.log(_LARGEST_SCALE)))
        query, key = (scale * _unit(query)).astype(query.dtype), _unit(key).astype(key.dtype)
        return attend(query, key, value, bias=bias, scale=1.0, dropout=self.attn_drop, rngs=rngs)


def _unit(x: Float[Array, "... d"]) -> Float[Array, "... d"]:
    """Vectors of length 1, in float32; 0 stays 0, and no gradient passes it: it is a padded token's."""
    x = x.astype(jnp.float32)
    square = jnp.sum(jnp.square(x), axis=-1, keepdims=True)
    least = _LEAST_LENGTH**2
    return x * jnp.where(square > least, jax.lax.rsqrt(jnp.maximum(square, least)), 0)


def log_spaced_offsets(window: Window, pretrained_window: int = 0) -> Float[np.ndarray, "offsets 2"]:
    """What the position bias is computed from: every offset of a window, on a logarithmic scale (eq. 4).

    The largest offset of the pretrained window is 8 before the logarithm to base 8 of 1 plus it.

    Args:
        window: height and width; row ``(dy + h - 1)(2 w - 1) + dx + w - 1`` is the offset (dy, dx).
        pretrained_window: side of the window that offsets are measured by; 0 for ``window``.
    """
    return _log_spaced_offsets(window, pretrained_window).copy()


@lru_cache(maxsize=64)
def _log_spaced_offsets(window: Window, pretrained_window: int) -> Float[np.ndarray, "offsets 2"]:
    reaches = [max((pretrained_window or side) - 1, 1) for side in window]
    sides = [np.arange(1 - side, side) * (8 / reach) for side, reach in zip(window, reaches, strict=True)]
    offsets = np.stack(np.meshgrid(*sides, indexing="ij"), axis=-1).reshape(-1, 2)
    return (np.sign(offsets) * np.log2(np.abs(offsets) + 1) / math.log2(8)).astype(np.float32)


class ResPostSwinBlock(SwinBlock):
    """A block whose norms stand at the end of its residual branches, and start as 0 (section 3.2, figure 1)."""

    def __init__(self, dim: int, attn: WindowHeads, shift: Window = (0, 0), **options: Any):
        super().__init__(dim, attn, shift, **options)
        for norm in (self.norm1, self.norm2):
            norm.scale = nnx.Param(constant(0, dim, options.get("param_dtype", jnp.float32)))

    def __call__(self, x: Float[Array, "b h w c"], train: bool = False, rngs: Rngs = None) -> Float[Array, "b h w c"]:
        """Attends within windows, then transforms each token."""
        x = x + self.drop_path1(self.norm1(self._attend(x, rngs)), rngs)
        return x + self.drop_path2(self.norm2(self.mlp(x, rngs)), rngs)


class NormedPatchMerging(nnx.Module):
    """Joins each 2x2 neighbourhood into one token of ``out_dim`` channels, with the norm after it."""

    def __init__(self, dim: int, out_dim: int, *, norm_eps: float = 1e-5, **layer: Unpack[LayerArgs]):
        self.reduction = Linear(4 * dim, out_dim, use_bias=False, kernel_init=small_normal, **layer)
        self.norm = LayerNorm(out_dim, eps=norm_eps, **layer)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h/2 w/2 d"]:
        """Halves the grid; an odd side is padded."""
        return self.norm(self.reduction(neighbourhoods(x)))


class SwinTransformerV2(SwinTransformer):
    """Swin Transformer V2."""

    config: SwinV2Config
    block_type = ResPostSwinBlock

    def make_merging(self, stage: int, **layer: Unpack[LayerArgs]) -> nnx.Module:
        """What a stage begins with, but for the first."""
        dim = self.config.embed_dim * 2**stage
        return NormedPatchMerging(dim // 2, dim, norm_eps=self.config.norm_eps, **layer)

    def make_attention(self, stage: int, **options: Any) -> WindowHeads:
        """The attention of a stage's blocks."""
        pretrained_window = self.config.pretrained_window_sizes[stage]
        dim, num_heads = self.config.embed_dim * 2**stage, self.config.num_heads[stage]
        return CosineWindowAttention(dim, num_heads, pretrained_window=pretrained_window, **options)


def _swin_v2(embed_dim: int, third_depth: int, heads: int, **options: Any) -> SwinV2Config:
    num_heads = (heads, 2 * heads, 4 * heads, 8 * heads)
    return SwinV2Config(embed_dim=embed_dim, depths=(2, 2, third_depth, 2), num_heads=num_heads, **options)


_TINY, _SMALL = _swin_v2(96, 6, 3), _swin_v2(96, 18, 3)
_BASE, _LARGE = _swin_v2(128, 18, 4), _swin_v2(192, 18, 6)
_12: dict[str, Any] = {"img_size": 192, "window_size": 12}
_12_TO_16: dict[str, Any] = {"window_size": 16, "pretrained_window_sizes": (12, 12, 12, 6)}
_12_TO_24: dict[str, Any] = {"img_size": 384, "window_size": 24, "pretrained_window_sizes": (12, 12, 12, 6)}

VARIANTS: dict[str, SwinV2Config] = {
    "swinv2_tiny_window8_256": _TINY,
    "swinv2_tiny_window16_256": replace(_TINY, window_size=16),
    "swinv2_small_window8_256": _SMALL,
    "swinv2_small_window16_256": replace(_SMALL, window_size=16),
    "swinv2_base_window8_256": _BASE,
    "swinv2_base_window16_256": replace(_BASE, window_size=16),
    "swinv2_base_window12_192": replace(_BASE, **_12),
    "swinv2_base_window12to16_192to256": replace(_BASE, **_12_TO_16),
    "swinv2_base_window12to24_192to384": replace(_BASE, **_12_TO_24),
    "swinv2_large_window12_192": replace(_LARGE, **_12),
    "swinv2_large_window12to16_192to256": replace(_LARGE, **_12_TO_16),
    "swinv2_large_window12to24_192to384": replace(_LARGE, **_12_TO_24),
}

FAMILY = Family("swin_v2", VARIANTS, SwinTransformerV2)
