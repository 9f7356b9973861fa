"""Vision Transformer (Dosovitskiy et al. 2021, arXiv:2010.11929) and its descendants under timm's names.

DeiT (Touvron et al. 2021) adds a distillation token, DeiT III (2022) LayerScale and position embeddings for patches
only, DINOv2 (Oquab et al. 2023) a gated MLP, Darcet et al. (2024) register tokens, CLIP (Radford et al. 2021) a norm
before the blocks, SigLIP (Zhai et al. 2023) pooling by attention.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Unpack

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from jaxvision.models.family import Family, pair
from jaxvision.models.head import run_classifier
from jaxvision.models.image_model import ImageModel
from jaxvision.nn.attention import Attention
from jaxvision.nn.drop import Dropout, DropPath, Rngs, name_sites, site_keys
from jaxvision.nn.init import nearly_zero, trunc_normal
from jaxvision.nn.layer_args import LayerArgs
from jaxvision.nn.mlp import GluMlp, Mlp
from jaxvision.nn.norm import LayerNorm
from jaxvision.nn.patch import PatchEmbed
from jaxvision.nn.pool import AttentionPoolLatent, pool_over
from jaxvision.nn.position import resize_pos_embed, square_grid
from jaxvision.nn.scale import LayerScale
from jaxvision.nn.stack import Stack


@dataclass(frozen=True)
class ViTConfig:
    """One row of the table below; the fields are the options of timm's ``VisionTransformer``.

    Attributes:
        img_size: image height and width in pixels; an int for both.
        patch_size: side of a patch in pixels.
        global_pool: ``"token"`` (the class token), ``"avg"``, ``"max"`` or ``"avgmax"`` over the patches, ``"map"``
            (attention with a learnt query), or ``""`` for no pooling: the head then sees every token.
        init_values: LayerScale's initial value; None for no LayerScale.
        reg_tokens: number of register tokens.
        distilled: DeiT's distillation token and its head; the two heads' logits are averaged.
        no_embed_class: position embeddings for the patches only, not for the tokens before them.
        pre_norm: a norm before the blocks, and no bias in the patch embedding (CLIP).
        fc_norm: the last norm after pooling instead of before it; None for only where patches are averaged.
        norm_eps: epsilon of every LayerNorm.
        mlp: ``"mlp"`` or ``"glu"``.
        dynamic_img_size: accept images of other sizes, resizing the position embeddings at every call.
        drop_rate: dropout before the classifier; the other rates likewise where they say.
        drop_path_rate: stochastic depth of the last block; it grows linearly from 0.
        remat: see `jaxvision.nn.Stack`.
        scan: see `jaxvision.nn.Stack`.
    """

    img_size: int | tuple[int, int] = 224
    patch_size: int = 16
    in_chans: int = 3
    num_classes: int = 1000
    global_pool: str = "token"
    embed_dim: int = 768
    depth: int = 12
    num_heads: int = 12
    mlp_ratio: float = 4.0
    qkv_bias: bool = True
    qk_norm: bool = False
    init_values: float | None = None
    class_token: bool = True
    reg_tokens: int = 0
    distilled: bool = False
    no_embed_class: bool = False
    pre_norm: bool = False
    final_norm: bool = True
    fc_norm: bool | None = None
    norm_eps: float = 1e-6
    act: str = "gelu"
    mlp: str = "mlp"
    dynamic_img_size: bool = False
    drop_rate: float = 0.0
    pos_drop_rate: float = 0.0
    proj_drop_rate: float = 0.0
    attn_drop_rate: float = 0.0
    drop_path_rate: float = 0.0
    remat: str | None = None
    scan: bool = False

    def __post_init__(self) -> None:
        pools = ("token", "avg", "max", "avgmax", "map", "")
        if self.global_pool not in pools:
            raise ValueError(f"global_pool must be one of {pools}, got {self.global_pool!r}")
        if self.global_pool == "token" and not self.class_token:
            raise ValueError("global_pool='token' needs class_token=True; use 'avg' or 'map' without one")
        if self.distilled and self.global_pool != "token":
            raise ValueError("distilled=True reads the class and distillation tokens: it needs global_pool='token'")
        if self.mlp not in _MLPS:
            raise ValueError(f"mlp must be one of {sorted(_MLPS)}, got {self.mlp!r}")
        grid = self.grid
        if min(grid) < 1:
            raise ValueError(f"img_size {self.img_size} is smaller than one patch of {self.patch_size}")

    @property
    def grid(self) -> tuple[int, int]:
        """Patches per column and row."""
        height, width = pair(self.img_size)
        return height // self.patch_size, width // self.patch_size

    @property
    def num_prefix_tokens(self) -> int:
        """Tokens before the patches: class, distillation, registers."""
        return int(self.class_token) + int(self.distilled) + self.reg_tokens


_MLPS: dict[str, Any] = {"mlp": Mlp, "glu": GluMlp}


class Block(nnx.Module):
    """A pre-norm transformer block (Dosovitskiy et al. 2021, eq. 2 and 3), its two branches scaled and dropped."""

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        qk_norm: bool = False,
        init_values: float | None = None,
        norm_eps: float = 1e-6,
        act: str = "gelu",
        mlp: str = "mlp",
        proj_drop: float = 0.0,
        attn_drop: float = 0.0,
        drop_path: float = 0.0,
        **layer: Unpack[LayerArgs],
    ):
        param_dtype = layer.get("param_dtype", jnp.float32)

        def layer_scale() -> LayerScale | None:
            return None if init_values is None else LayerScale(dim, init_values, param_dtype=param_dtype)

        self.norm1 = LayerNorm(dim, eps=norm_eps, **layer)
        self.attn = Attention(
            dim,
            num_heads,
            qkv_bias=qkv_bias,
            qk_norm=qk_norm,
            norm_eps=norm_eps,
            attn_drop=attn_drop,
            proj_drop=proj_drop,
            **layer,
        )
        self.ls1 = layer_scale()
        self.drop_path1 = DropPath(drop_path)
        self.norm2 = LayerNorm(dim, eps=norm_eps, **layer)
        self.mlp = _MLPS[mlp](dim, int(dim * mlp_ratio), act=act, drop=proj_drop, **layer)
        self.ls2 = layer_scale()
        self.drop_path2 = DropPath(drop_path)

    def __call__(self, x: Float[Array, "b n c"], train: bool = False, rngs: Rngs = None) -> Float[Array, "b n c"]:
        """Attends, then transforms each token."""
        branch = self.attn(self.norm1(x), rngs)
        x = x + self.drop_path1(branch if self.ls1 is None else self.ls1(branch), rngs)
        branch = self.mlp(self.norm2(x), rngs)
        return x + self.drop_path2(branch if self.ls2 is None else self.ls2(branch), rngs)


class VisionTransformer(ImageModel):
    """Vision Transformer."""

    input_conv = "patch_embed.proj"

    def __init__(self, config: ViTConfig, **layer: Unpack[LayerArgs]):
        c = self.config = config
        rngs, param_dtype = layer["rngs"], layer.get("param_dtype", jnp.float32)
        self.num_features = c.embed_dim

        def token(count: int, init: nnx.Initializer) -> nnx.Param | None:
            return nnx.Param(init(rngs.params(), (1, count, c.embed_dim), param_dtype)) if count else None

        def norm(wanted: bool) -> LayerNorm | None:
            return LayerNorm(c.embed_dim, eps=c.norm_eps, **layer) if wanted else None

        def head() -> nnx.Linear | None:
            return nnx.Linear(c.embed_dim, c.num_classes, kernel_init=trunc_normal, **layer) if c.num_classes else None

        self.patch_embed = PatchEmbed(c.patch_size, c.in_chans, c.embed_dim, use_bias=not c.pre_norm, **layer)
        self.cls_token = token(int(c.class_token), nearly_zero)
        self.dist_token = token(int(c.distilled), trunc_normal)
        self.reg_token = token(c.reg_tokens, nearly_zero)
        embedded = c.grid[0] * c.grid[1] + (0 if c.no_embed_class else c.num_prefix_tokens)
        self.pos_embed = nnx.Param(trunc_normal(rngs.params(), (1, embedded, c.embed_dim), param_dtype))
        self.pos_drop = Dropout(c.pos_drop_rate)
        self.norm_pre = norm(c.pre_norm)
        self.blocks = Stack(
            [
                Block(
                    c.embed_dim,
                    c.num_heads,
                    mlp_ratio=c.mlp_ratio,
                    qkv_bias=c.qkv_bias,
                    qk_norm=c.qk_norm,
                    init_values=c.init_values,
                    norm_eps=c.norm_eps,
                    act=c.act,
                    mlp=c.mlp,
                    proj_drop=c.proj_drop_rate,
                    attn_drop=c.attn_drop_rate,
                    drop_path=c.drop_path_rate * index / max(c.depth - 1, 1),
                    **layer,
                )
                for index in range(c.depth)
            ],
            remat=c.remat,
            scan=c.scan,
        )
        after_pool = c.global_pool in ("avg", "max", "avgmax") if c.fc_norm is None else c.fc_norm
        self.norm = norm(c.final_norm and not after_pool)
        self.attn_pool = (
            AttentionPoolLatent(
                c.embed_dim, c.num_heads, mlp_ratio=c.mlp_ratio, norm_eps=c.norm_eps, act=c.act, **layer
            )
            if c.global_pool == "map"
            else None
        )
        self.fc_norm = norm(c.final_norm and after_pool)
        self.head_drop = Dropout(c.drop_rate)
        self.head = head()
        self.head_dist = head() if c.distilled else None
        self.classifiers = () if not c.num_classes else ("head", "head_dist") if c.distilled else ("head",)
        name_sites(self)

    @property
    def block_paths(self) -> tuple[tuple[str, ...], ...]:
        """Paths of the blocks; all have one resolution, so these are quarters of the depth (fewer blocks, fewer)."""
        depth, parts = self.config.depth, min(4, self.config.depth)
        edges = [depth * part // parts for part in range(parts + 1)]
        return tuple(tuple(f"blocks.{i}" for i in range(*edges[part : part + 2])) for part in range(parts))

    def forward_features(
        self, images: Float[Array, "b h w c"], train: bool = False, rngs: Rngs = None
    ) -> Float[Array, "b n d"]:
        """All tokens after the last block, prefix tokens first."""
        keys = site_keys(rngs)
        self._check(images)
        x = self.pos_drop(self._embed(self.patch_embed(images)), keys)
        if self.norm_pre is not None:
            x = self.norm_pre(x)
        x = self.blocks(x, train=train, rngs=keys)
        return x if self.norm is None else self.norm(x)

    def forward_head(
        self, features: Float[Array, "b n d"], pre_logits: bool = False, train: bool = False, rngs: Rngs = None
    ) -> Float[Array, "b classes"]:
        """Logits of `forward_features`' tokens; with ``pre_logits`` what the classifier would see."""
        keys = site_keys(rngs)
        if self.config.distilled:
            token, distilled = (self.head_drop(features[:, index], keys) for index in (0, 1))
            if not pre_logits and self.head is not None and self.head_dist is not None:
                token, distilled = self.head(token), self.head_dist(distilled)
            return (token + distilled) / 2
        x = self._pool(features)
        if self.fc_norm is not None:
            x = self.fc_norm(x)
        return x if pre_logits else self.classify(x, train=train, rngs=keys)

    def classify(
        self, pooled: Float[Array, "b d"], train: bool = False, rngs: Rngs = None
    ) -> Float[Array, "b classes"]:
        """Logits of pooled features.

        Raises:
            ValueError: the model is a distilled one, which classifies two tokens by themselves.
        """
        if self.config.distilled:
            raise ValueError("a distilled ViT classifies two tokens, each by itself: pooled features are not enough")
        keys = site_keys(rngs)
        return run_classifier(self.head, self.head_drop(pooled, keys), train, keys)

    def adapt_weights(self, weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Resizes the position embeddings of a checkpoint, made for square images, to this model's grid."""
        adapted = dict(weights)
        given = adapted.get("pos_embed")
        if given is not None and given.shape != self.pos_embed.shape:
            prefix = 0 if self.config.no_embed_class else self.config.num_prefix_tokens
            old_grid = square_grid(given.shape[1] - prefix)
            adapted["pos_embed"] = np.asarray(resize_pos_embed(jnp.asarray(given), self.config.grid, old_grid, prefix))
        return adapted

    def _check(self, images: Float[Array, "b h w c"]) -> None:
        c = self.config
        size = pair(c.img_size)
        if images.ndim != 4 or images.shape[-1] != c.in_chans:
            raise ValueError(f"expected images of shape (batch, height, width, {c.in_chans}), got {images.shape}")
        if images.shape[1:3] != size and not c.dynamic_img_size:
            raise ValueError(
                f"expected images of {size[0]}x{size[1]}, got {images.shape[1]}x{images.shape[2]}; "
                "build the model with img_size=..., or with dynamic_img_size=True for any size"
            )

    def _embed(self, x: Float[Array, "b gh gw d"]) -> Float[Array, "b n d"]:
        c = self.config
        batch, *grid, dim = x.shape
        prefix = 0 if c.no_embed_class else c.num_prefix_tokens
        pos_embed = resize_pos_embed(self.pos_embed[...], (grid[0], grid[1]), c.grid, prefix).astype(x.dtype)
        x = x.reshape(batch, -1, dim)
        tokens = [token for token in (self.cls_token, self.dist_token, self.reg_token) if token is not None]
        prefix_tokens = [jnp.broadcast_to(t[...].astype(x.dtype), (batch, *t.shape[1:])) for t in tokens]
        if c.no_embed_class:
            return jnp.concatenate([*prefix_tokens, x + pos_embed], axis=1)
        return jnp.concatenate([*prefix_tokens, x], axis=1) + pos_embed

    def _pool(self, x: Float[Array, "b n d"]) -> Array:
        kind, patches = self.config.global_pool, x[:, self.config.num_prefix_tokens :]
        if kind == "":
            return x
        if kind == "token":
            return x[:, 0]
        return self.attn_pool(patches) if self.attn_pool is not None else pool_over(patches, (1,), kind)


def _size(embed_dim: int, depth: int, num_heads: int, **options: Any) -> ViTConfig:
    return ViTConfig(embed_dim=embed_dim, depth=depth, num_heads=num_heads, **options)


_TINY, _SMALL, _BASE = _size(192, 12, 3), _size(384, 12, 6), _size(768, 12, 12)
_LARGE, _HUGE = _size(1024, 24, 16), _size(1280, 32, 16)
_MEDIUM, _BETWIXT, _SO400M = _size(512, 12, 8), _size(640, 12, 10), _size(1152, 27, 16)
_GIANT, _GIGANTIC = _size(1408, 40, 16, mlp_ratio=48 / 11), _size(1664, 48, 16, mlp_ratio=64 / 13)

_CLIP: dict[str, Any] = {"pre_norm": True, "norm_eps": 1e-5}
_GAP: dict[str, Any] = {"class_token": False, "global_pool": "avg", "fc_norm": False}
_MAP: dict[str, Any] = {"class_token": False, "global_pool": "map"}
_DEIT3: dict[str, Any] = {"no_embed_class": True, "init_values": 1e-6}
_DINOV2: dict[str, Any] = {"patch_size": 14, "img_size": 518, "init_values": 1e-5}
_REG4: dict[str, Any] = {"reg_tokens": 4, "no_embed_class": True}
_MEDIUM_GAP = {**_GAP, "qkv_bias": False, "init_values": 1e-6}


def _variant(size: ViTConfig, patch_size: int, img_size: int, **options: Any) -> ViTConfig:
    return replace(size, **{"patch_size": patch_size, "img_size": img_size, **options})


VARIANTS: dict[str, ViTConfig] = {
    "vit_tiny_patch16_224": _variant(_TINY, 16, 224),
    "vit_tiny_patch16_384": _variant(_TINY, 16, 384),
    "vit_small_patch32_224": _variant(_SMALL, 32, 224),
    "vit_small_patch32_384": _variant(_SMALL, 32, 384),
    "vit_small_patch16_224": _variant(_SMALL, 16, 224),
    "vit_small_patch16_384": _variant(_SMALL, 16, 384),
    "vit_small_patch8_224": _variant(_SMALL, 8, 224),
    "vit_base_patch32_224": _variant(_BASE, 32, 224),
    "vit_base_patch32_384": _variant(_BASE, 32, 384),
    "vit_base_patch16_224": _variant(_BASE, 16, 224),
    "vit_base_patch16_384": _variant(_BASE, 16, 384),
    "vit_base_patch8_224": _variant(_BASE, 8, 224),
    "vit_base_patch16_224_miil": _variant(_BASE, 16, 224, qkv_bias=False),
    "vit_large_patch32_224": _variant(_LARGE, 32, 224),
    "vit_large_patch32_384": _variant(_LARGE, 32, 384),
    "vit_large_patch16_224": _variant(_LARGE, 16, 224),
    "vit_large_patch16_384": _variant(_LARGE, 16, 384),
    "vit_large_patch14_224": _variant(_LARGE, 14, 224),
    "vit_huge_patch14_224": _variant(_HUGE, 14, 224),
    "vit_giant_patch14_224": _variant(_GIANT, 14, 224),
    "vit_gigantic_patch14_224": _variant(_GIGANTIC, 14, 224),
    # Average pooling, no class token.
    "vit_medium_patch16_gap_240": _variant(_MEDIUM, 16, 240, **_MEDIUM_GAP),
    "vit_medium_patch16_gap_256": _variant(_MEDIUM, 16, 256, **_MEDIUM_GAP),
    "vit_medium_patch16_gap_384": _variant(_MEDIUM, 16, 384, **_MEDIUM_GAP),
    "vit_betwixt_patch16_gap_256": _variant(_BETWIXT, 16, 256, **_MEDIUM_GAP),
    "vit_base_patch16_gap_224": _variant(_BASE, 16, 224, **_GAP, num_heads=16),
    "vit_huge_patch14_gap_224": _variant(_HUGE, 14, 224, **_GAP),
    "vit_huge_patch16_gap_448": _variant(_HUGE, 16, 448, **_GAP),
    "vit_giant_patch16_gap_224": _variant(_GIANT, 16, 224, **_GAP),
    # DeiT and DeiT III.
    "deit_tiny_patch16_224": _variant(_TINY, 16, 224),
    "deit_small_patch16_224": _variant(_SMALL, 16, 224),
    "deit_base_patch16_224": _variant(_BASE, 16, 224),
    "deit_base_patch16_384": _variant(_BASE, 16, 384),
    "deit_tiny_distilled_patch16_224": _variant(_TINY, 16, 224, distilled=True),
    "deit_small_distilled_patch16_224": _variant(_SMALL, 16, 224, distilled=True),
    "deit_base_distilled_patch16_224": _variant(_BASE, 16, 224, distilled=True),
    "deit_base_distilled_patch16_384": _variant(_BASE, 16, 384, distilled=True),
    "deit3_small_patch16_224": _variant(_SMALL, 16, 224, **_DEIT3),
    "deit3_small_patch16_384": _variant(_SMALL, 16, 384, **_DEIT3),
    "deit3_medium_patch16_224": _variant(_MEDIUM, 16, 224, **_DEIT3),
    "deit3_base_patch16_224": _variant(_BASE, 16, 224, **_DEIT3),
    "deit3_base_patch16_384": _variant(_BASE, 16, 384, **_DEIT3),
    "deit3_large_patch16_224": _variant(_LARGE, 16, 224, **_DEIT3),
    "deit3_large_patch16_384": _variant(_LARGE, 16, 384, **_DEIT3),
    "deit3_huge_patch14_224": _variant(_HUGE, 14, 224, **_DEIT3),
    # CLIP.
    "vit_base_patch32_clip_224": _variant(_BASE, 32, 224, **_CLIP),
    "vit_base_patch32_clip_384": _variant(_BASE, 32, 384, **_CLIP),
    "vit_base_patch16_clip_224": _variant(_BASE, 16, 224, **_CLIP),
    "vit_base_patch16_clip_384": _variant(_BASE, 16, 384, **_CLIP),
    "vit_base_patch16_clip_quickgelu_224": _variant(_BASE, 16, 224, **_CLIP, act="quick_gelu"),
    "vit_large_patch14_clip_224": _variant(_LARGE, 14, 224, **_CLIP),
    "vit_large_patch14_clip_336": _variant(_LARGE, 14, 336, **_CLIP),
    "vit_huge_patch14_clip_224": _variant(_HUGE, 14, 224, **_CLIP),
    # DINOv2, without and with registers.
    "vit_small_patch14_dinov2": replace(_SMALL, **_DINOV2),
    "vit_base_patch14_dinov2": replace(_BASE, **_DINOV2),
    "vit_large_patch14_dinov2": replace(_LARGE, **_DINOV2),
    "vit_giant_patch14_dinov2": _size(1536, 40, 24, mlp_ratio=2.66667 * 2, mlp="glu", act="silu", **_DINOV2),
    "vit_small_patch14_reg4_dinov2": replace(_SMALL, **_DINOV2, **_REG4),
    "vit_base_patch14_reg4_dinov2": replace(_BASE, **_DINOV2, **_REG4),
    "vit_large_patch14_reg4_dinov2": replace(_LARGE, **_DINOV2, **_REG4),
    "vit_giant_patch14_reg4_dinov2": _size(
        1536, 40, 24, mlp_ratio=2.66667 * 2, mlp="glu", act="silu", **_DINOV2, **_REG4
    ),
    # SigLIP.
    "vit_base_patch16_siglip_224": _variant(_BASE, 16, 224, **_MAP),
    "vit_base_patch16_siglip_256": _variant(_BASE, 16, 256, **_MAP),
    "vit_base_patch16_siglip_384": _variant(_BASE, 16, 384, **_MAP),
    "vit_large_patch16_siglip_256": _variant(_LARGE, 16, 256, **_MAP),
    "vit_large_patch16_siglip_384": _variant(_LARGE, 16, 384, **_MAP),
    "vit_so400m_patch14_siglip_224": _variant(_SO400M, 14, 224, **_MAP, mlp_ratio=3.7362),
    "vit_so400m_patch14_siglip_384": _variant(_SO400M, 14, 384, **_MAP, mlp_ratio=3.7362),
}

FAMILY = Family("vit", VARIANTS, VisionTransformer)
