"""Swin Transformer (Liu et al. 2021, arXiv:2103.14030), and the searched S3 (Chen et al. 2021, arXiv:2111.14725).

Attention within windows, shifted by half a window in every other block; patches merge between stages.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Unpack

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from jaxvision.models.family import Family, pair
from jaxvision.models.feature_info import FeatureLevel
from jaxvision.models.head import ClassifierHead
from jaxvision.models.image_model import ImageModel
from jaxvision.nn.attention import attend
from jaxvision.nn.drop import Dropout, DropPath, Rngs, name_sites, site_keys
from jaxvision.nn.init import small_normal
from jaxvision.nn.layer_args import LayerArgs
from jaxvision.nn.linear import Linear
from jaxvision.nn.mlp import Mlp
from jaxvision.nn.norm import LayerNorm
from jaxvision.nn.patch import PatchEmbed, PatchMerging, resample_patch_embed
from jaxvision.nn.position import PositionFit, relative_position_index, resize_relative_position_bias, square_grid
from jaxvision.nn.stack import Stack
from jaxvision.nn.window import Window, in_windows, padded_size, shift_mask


@dataclass(frozen=True)
class SwinConfig:
    """One row of the table below; the fields are the options of timm's ``SwinTransformer``.

    Attributes:
        img_size: image height and width in pixels that the windows are laid out for; what is left over beside the last
            whole patch is not seen. Images of any other number of whole patches run too: maps are padded to whole
            windows.
        patch_size: side of a patch in pixels, or (height, width).
        embed_dim: channels of the first stage; they double with every merging.
        window_size: side of a window in patches, or (height, width); a tuple of more than two, or of pairs, for one per
            stage.
        always_partition: keep window and shift where a stage's map is no larger than a window; else the window is the
            map there and is not shifted.
        drop_rate: dropout before the classifier; the other rates likewise where they say.
        drop_path_rate: stochastic depth of the last block; it grows linearly from 0. timm's default is 0.1.
        remat: see `jaxvision.nn.Stack`, as for ``scan``.
    """

    img_size: int | tuple[int, int] = 224
    patch_size: int | tuple[int, int] = 4
    in_chans: int = 3
    num_classes: int = 1000
    global_pool: str = "avg"
    embed_dim: int = 96
    depths: tuple[int, ...] = (2, 2, 6, 2)
    num_heads: tuple[int, ...] = (3, 6, 12, 24)
    window_size: int | Window | tuple[int | Window, ...] = 7
    always_partition: bool = False
    mlp_ratio: float = 4.0
    qkv_bias: bool = True
    norm_eps: float = 1e-5
    drop_rate: float = 0.0
    proj_drop_rate: float = 0.0
    attn_drop_rate: float = 0.0
    drop_path_rate: float = 0.1
    remat: str | None = None
    scan: bool = False

    def __post_init__(self) -> None:
        if len(self.depths) != len(self.num_heads):
            raise ValueError(f"depths {self.depths} and num_heads {self.num_heads} must have one entry per stage")
        if len(self._windows()) != len(self.depths):
            raise ValueError(f"window_size {self.window_size} must be one window, or one per stage: {len(self.depths)}")
        if min(side for window in self._windows() for side in window) < 1:
            raise ValueError(f"a window must hold at least one patch, got window_size {self.window_size}")
        if min(self.resolution(0)) < 1:
            raise ValueError(f"img_size {self.img_size} is smaller than one patch of {self.patch_size}")

    @property
    def patch(self) -> tuple[int, int]:
        """Height and width of a patch."""
        return pair(self.patch_size)

    def resolution(self, stage: int) -> tuple[int, int]:
        """Height and width of a stage's map, in tokens."""
        height, width = (side // patch for side, patch in zip(pair(self.img_size), self.patch, strict=True))
        return -(-height // 2**stage), -(-width // 2**stage)

    def window(self, stage: int) -> Window:
        """Window of a stage: no larger than its map."""
        wanted, map_size = self._windows()[stage], self.resolution(stage)
        return wanted if self.always_partition else (min(wanted[0], map_size[0]), min(wanted[1], map_size[1]))

    def shift(self, stage: int) -> Window:
        """Shift of every other block of a stage: half a window, none along a side that is one window."""
        height, width = (
            0 if side <= window and not self.always_partition else window // 2
            for side, window in zip(self.resolution(stage), self._windows()[stage], strict=True)
        )
        return height, width

    def _windows(self) -> tuple[Window, ...]:
        """The window of every stage, as it is asked for."""
        size = self.window_size
        if isinstance(size, int):
            return (pair(size),) * len(self.depths)
        if len(size) == 2 and isinstance(size[0], int) and isinstance(size[1], int):
            return ((size[0], size[1]),) * len(self.depths)
        return tuple(pair(window) for window in size)


class WindowHeads(nnx.Module):
    """What every attention within windows has besides its projection to queries, keys and values."""

    def __init__(
        self,
        dim: int,
        num_heads: int,
        window: Window,
        *,
        attn_drop: float = 0.0,
        proj_drop: float = 0.0,
        **layer: Unpack[LayerArgs],
    ):
        if dim % num_heads:
            raise ValueError(f"dim {dim} is not divisible by {num_heads} heads")
        self.num_heads = num_heads
        self.window = window
        self.attn_drop = Dropout(attn_drop)
        self.proj = Linear(dim, dim, kernel_init=small_normal, **layer)
        self.proj_drop = Dropout(proj_drop)

    def __call__(
        self, x: Float[Array, "b windows n c"], mask: Float[np.ndarray, "windows n n"] | None = None, rngs: Rngs = None
    ) -> Float[Array, "b windows n c"]:
        """Attends within each window; ``mask`` is added to the logits of all heads."""
        query, key, value = (self._split(part) for part in self.project(x))
        bias = self.bias() if mask is None else self.bias() + mask[:, None]
        x = self.attend(query, key, value, bias, rngs)
        return self.proj_drop(self.proj(x.reshape(*x.shape[:-2], -1)), rngs)

    def project(self, x: Float[Array, "b windows n c"]) -> Sequence[Float[Array, "b windows n c"]]:
        """Queries, keys and values."""
        raise TypeError(f"{type(self).__name__} defines no projection")

    def bias(self) -> Float[Array, "1 heads n n"]:
        """What is added to the logit of every pair of positions."""
        raise TypeError(f"{type(self).__name__} defines no position bias")

    def attend(
        self,
        query: Float[Array, "b windows n heads d"],
        key: Float[Array, "b windows n heads d"],
        value: Float[Array, "b windows n heads d"],
        bias: Float[Array, "#windows heads n n"],
        rngs: Rngs,
    ) -> Float[Array, "b windows n heads d"]:
        """Attention by inner products."""
        return attend(query, key, value, bias=bias, dropout=self.attn_drop, rngs=rngs)

    def _split(self, x: Float[Array, "b windows n c"]) -> Float[Array, "b windows n heads d"]:
        return x.reshape(*x.shape[:-1], self.num_heads, -1)


class WindowAttention(WindowHeads):
    """Attention within windows, with a learnt bias for every offset between two positions (section 3.2, eq. 4).

    Attributes:
        relative_position_bias_table: parameter, ((2 h - 1)(2 w - 1), heads).
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        window: Window,
        *,
        qkv_bias: bool = True,
        attn_drop: float = 0.0,
        proj_drop: float = 0.0,
        **layer: Unpack[LayerArgs],
    ):
        super().__init__(dim, num_heads, window, attn_drop=attn_drop, proj_drop=proj_drop, **layer)
        offsets = (2 * window[0] - 1) * (2 * window[1] - 1)
        self.relative_position_bias_table = nnx.Param(
            small_normal(layer["rngs"].params(), (offsets, num_heads), layer.get("param_dtype", jnp.float32))
        )
        self.qkv = Linear(dim, 3 * dim, use_bias=qkv_bias, kernel_init=small_normal, **layer)

    def project(self, x: Float[Array, "b windows n c"]) -> Sequence[Float[Array, "b windows n c"]]:
        """Queries, keys and values, by one layer."""
        return jnp.split(self.qkv(x), 3, axis=-1)

    def bias(self) -> Float[Array, "1 heads n n"]:
        """The learnt bias of every pair of positions."""
        index = relative_position_index(self.window)
        return self.relative_position_bias_table[...][index].transpose(2, 0, 1)[None]


class SwinBlock(nnx.Module):
    """A transformer block whose attention is within windows, shifted or not (section 3.2, eq. 3)."""

    def __init__(
        self,
        dim: int,
        attn: WindowHeads,
        shift: Window = (0, 0),
        *,
        mlp_ratio: float = 4.0,
        norm_eps: float = 1e-5,
        proj_drop: float = 0.0,
        drop_path: float = 0.0,
        **layer: Unpack[LayerArgs],
    ):
        self.window, self.shift = attn.window, shift
        self.norm1 = LayerNorm(dim, eps=norm_eps, **layer)
        self.attn = attn
        self.drop_path1 = DropPath(drop_path)
        self.norm2 = LayerNorm(dim, eps=norm_eps, **layer)
        self.mlp = Mlp(dim, int(dim * mlp_ratio), drop=proj_drop, **layer)
        self.drop_path2 = DropPath(drop_path)

    def __call__(self, x: Float[Array, "b h w c"], train: bool = False, rngs: Rngs = None) -> Float[Array, "b h w c"]:
        """Attends within windows, then transforms each token."""
        x = x + self.drop_path1(self._attend(self.norm1(x), rngs), rngs)
        return x + self.drop_path2(self.mlp(self.norm2(x), rngs), rngs)

    def _attend(self, x: Float[Array, "b h w c"], rngs: Rngs) -> Float[Array, "b h w c"]:
        size = padded_size((x.shape[1], x.shape[2]), self.window)
        mask = shift_mask(size, self.window, self.shift) if any(self.shift) else None
        return in_windows(x, self.window, self.shift, lambda windows: self.attn(windows, mask, rngs))


class SwinStage(nnx.Module):
    """Merges patches, but for the first stage, then runs blocks of which every other one shifts its windows."""

    def __init__(self, downsample: nnx.Module | None, blocks: Stack):
        self.downsample = downsample
        self.blocks = blocks

    def __call__(self, x: Float[Array, "b h w c"], train: bool = False, rngs: Rngs = None) -> Float[Array, "b H W d"]:
        """Halves the map and doubles the channels, but for the first stage, and runs the blocks."""
        x = x if self.downsample is None else self.downsample(x)
        return self.blocks(x, train=train, rngs=rngs)


class SwinTransformer(ImageModel):
    """Swin Transformer."""

    input_conv = "patch_embed.proj"
    heads = ("head.fc",)
    block_type = SwinBlock

    def __init__(self, config: SwinConfig, **layer: Unpack[LayerArgs]):
        c = self.config = config
        self.num_features = c.embed_dim * 2 ** (len(c.depths) - 1)
        self.patch_embed = PatchEmbed(c.patch_size, c.in_chans, c.embed_dim, norm_eps=c.norm_eps, **layer)
        rates = iter(np.linspace(0, c.drop_path_rate, sum(c.depths)).tolist())
        self.layers = nnx.List(
            [
                SwinStage(
                    self.make_merging(stage, **layer) if stage else None,
                    Stack(
                        [
                            self.make_block(stage, c.shift(stage) if index % 2 else (0, 0), next(rates), **layer)
                            for index in range(depth)
                        ],
                        remat=c.remat,
                        scan=c.scan,
                    ),
                )
                for stage, depth in enumerate(c.depths)
            ]
        )
        self.norm: LayerNorm | None = LayerNorm(self.num_features, eps=c.norm_eps, **layer)
        self.head = ClassifierHead(self.make_classifier(c.num_classes, **layer), drop_rate=c.drop_rate)
        name_sites(self)

    def make_merging(self, stage: int, **layer: Unpack[LayerArgs]) -> nnx.Module:
        """What a stage begins with, but for the first."""
        dim = self.config.embed_dim * 2**stage
        return PatchMerging(dim // 2, dim, norm_eps=self.config.norm_eps, **layer)

    def make_attention(self, stage: int, **options: Any) -> WindowHeads:
        """The attention of a stage's blocks."""
        return WindowAttention(self.config.embed_dim * 2**stage, self.config.num_heads[stage], **options)

    def make_block(self, stage: int, shift: Window, drop_path: float, **layer: Unpack[LayerArgs]) -> nnx.Module:
        """One block of a stage."""
        c = self.config
        attn = self.make_attention(
            stage,
            window=c.window(stage),
            qkv_bias=c.qkv_bias,
            attn_drop=c.attn_drop_rate,
            proj_drop=c.proj_drop_rate,
            **layer,
        )
        return self.block_type(
            c.embed_dim * 2**stage,
            attn,
            shift,
            mlp_ratio=c.mlp_ratio,
            norm_eps=c.norm_eps,
            proj_drop=c.proj_drop_rate,
            drop_path=drop_path,
            **layer,
        )

    @property
    def block_paths(self) -> tuple[tuple[str, ...], ...]:
        """Paths of the blocks, stage by stage."""
        return tuple(
            tuple(f"layers.{index}.blocks.{block}" for block in range(len(stage.blocks)))
            for index, stage in enumerate(self.layers)
        )

    def feature_levels(self) -> tuple[FeatureLevel, ...]:
        """Every stage's map."""
        c = self.config
        return tuple(
            FeatureLevel(f"layers.{stage}", c.embed_dim * 2**stage, max(c.patch) * 2**stage)
            for stage in range(len(self.layers))
        )

    def feature_maps(
        self, images: Float[Array, "b h w c"], train: bool = False, rngs: Rngs = None
    ) -> Iterator[tuple[str, Float[Array, "b H W d"]]]:
        """What the stages give, one after the other, without a norm."""
        self._check(images)
        keys = site_keys(rngs)
        x = self.patch_embed(images)
        for index, stage in enumerate(self.layers):
            x = stage(x, train=train, rngs=keys)
            yield f"layers.{index}", x

    def final_layers(self, x: Float[Array, "b h w d"], train: bool = False) -> Float[Array, "b h w d"]:
        """The norm after the last stage."""
        return self.final_norm(x)

    def keep_levels(self, count: int) -> None:
        """Removes all that the first ``count`` feature maps do not need."""
        self.reset_classifier(0)
        self.left_out = ("norm", *(f"layers.{stage}" for stage in range(count, len(self.layers))))
        del self.layers[count:]
        self.norm, self.num_features = None, self.feature_levels()[-1].num_chs

    def make_classifier(self, num_classes: int, **layer: Unpack[LayerArgs]) -> Linear | None:
        """A linear layer; None for 0 classes."""
        width = self.head_hidden_size
        return Linear(width, num_classes, kernel_init=small_normal, **layer) if num_classes else None

    def classify(
        self, pooled: Float[Array, "b d"], train: bool = False, rngs: Rngs = None
    ) -> Float[Array, "b classes"]:
        """Logits of pooled features."""
        return self.head(pooled, train, site_keys(rngs))

    def adapt_weights(
        self,
        weights: Mapping[str, np.ndarray],
        img_size: tuple[int, int] | None = None,
        fit: PositionFit | None = None,
    ) -> dict[str, np.ndarray]:
        """Fits a checkpoint to this model, as timm's loader does.

        Position bias tables, made for square windows unless they fit as they are, are resized to this model's windows,
        and patch embeddings to its patch size.
        """
        c, adapted = self.config, dict(weights)
        kernel = adapted.get("patch_embed.proj.kernel")
        if kernel is not None and kernel.ndim == 4:
            adapted["patch_embed.proj.kernel"] = resample_patch_embed(kernel, c.patch)
        for name, table in weights.items():
            stage = _BIAS_TABLE.fullmatch(name)
            if stage is not None and int(stage[1]) < len(self.layers):
                window = c.window(int(stage[1]))
                if table.shape[0] != (2 * window[0] - 1) * (2 * window[1] - 1):
                    side = (square_grid(table.shape[0])[0] + 1) // 2
                    adapted[name] = resize_relative_position_bias(table, window, (side, side))
        return adapted

    def _check(self, images: Float[Array, "b h w c"]) -> None:
        c = self.config
        if images.ndim != 4 or images.shape[-1] != c.in_chans:
            raise ValueError(f"expected images of shape (batch, height, width, {c.in_chans}), got {images.shape}")
        size = images.shape[1:3]
        if size != pair(c.img_size) and (size[0] % c.patch[0] or size[1] % c.patch[1]):
            raise ValueError(
                f"images of {size[0]}x{size[1]} are not whole patches of {c.patch_size}; resize them, "
                f"or build the model with img_size={size}"
            )


_BIAS_TABLE = re.compile(r"layers\.(\d+)\.blocks\.\d+\.attn\.relative_position_bias_table")


def _swin(embed_dim: int, third_depth: int, heads: int, **options: Any) -> SwinConfig:
    num_heads = (heads, 2 * heads, 4 * heads, 8 * heads)
    return SwinConfig(embed_dim=embed_dim, depths=(2, 2, third_depth, 2), num_heads=num_heads, **options)


_TINY, _SMALL = _swin(96, 6, 3), _swin(96, 18, 3)
_BASE, _LARGE = _swin(128, 18, 4), _swin(192, 18, 6)
_384: dict[str, Any] = {"img_size": 384, "window_size": 12}

VARIANTS: dict[str, SwinConfig] = {
    "swin_tiny_patch4_window7_224": _TINY,
    "swin_small_patch4_window7_224": _SMALL,
    "swin_base_patch4_window7_224": _BASE,
    "swin_base_patch4_window12_384": replace(_BASE, **_384),
    "swin_large_patch4_window7_224": _LARGE,
    "swin_large_patch4_window12_384": replace(_LARGE, **_384),
    "swin_s3_tiny_224": replace(_TINY, window_size=(7, 7, 14, 7)),
    "swin_s3_small_224": replace(_SMALL, window_size=(14, 14, 14, 7)),
    "swin_s3_base_224": _swin(96, 30, 3, window_size=(7, 7, 14, 7)),
}

FAMILY = Family("swin", VARIANTS, SwinTransformer)
