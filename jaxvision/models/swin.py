"""Swin Transformer (Liu et al. 2021, arXiv:2103.14030), and the searched S3 (Chen et al. 2021, arXiv:2111.14725).

Attention within windows, shifted by half a window in every other block; patches merge between stages.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
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
from jaxvision.nn.init import trunc_normal
from jaxvision.nn.layer_args import LayerArgs
from jaxvision.nn.mlp import Mlp
from jaxvision.nn.norm import LayerNorm
from jaxvision.nn.patch import PatchEmbed, PatchMerging, pad_to_multiple
from jaxvision.nn.position import relative_position_index, resize_relative_position_bias, square_grid
from jaxvision.nn.stack import Stack

Window = tuple[int, int]


@dataclass(frozen=True)
class SwinConfig:
    """One row of the table below; the fields are the options of timm's ``SwinTransformer``.

    Attributes:
        img_size: image height and width in pixels that the windows are laid out for. Images of any other size run too:
            the map is padded to whole windows.
        patch_size: side of a patch in pixels.
        embed_dim: channels of the first stage; they double with every merging.
        window_size: side of a window in patches; a tuple for one per stage. Where a stage's map is no larger, the
            window is the map and is not shifted.
        drop_rate: dropout before the classifier; the other rates likewise where they say.
        drop_path_rate: stochastic depth of the last block; it grows linearly from 0. timm's default is 0.1.
        remat: see `jaxvision.nn.Stack`, as for ``scan``.
    """

    img_size: int | tuple[int, int] = 224
    patch_size: int = 4
    in_chans: int = 3
    num_classes: int = 1000
    global_pool: str = "avg"
    embed_dim: int = 96
    depths: tuple[int, ...] = (2, 2, 6, 2)
    num_heads: tuple[int, ...] = (3, 6, 12, 24)
    window_size: int | tuple[int, ...] = 7
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
        if isinstance(self.window_size, tuple) and len(self.window_size) != len(self.depths):
            raise ValueError(f"window_size {self.window_size} must be one number, or one per stage: {len(self.depths)}")

    def resolution(self, stage: int) -> tuple[int, int]:
        """Height and width of a stage's map, in tokens."""
        height, width = (-(-side // self.patch_size) for side in pair(self.img_size))
        return -(-height // 2**stage), -(-width // 2**stage)

    def window(self, stage: int) -> Window:
        """Window of a stage: no larger than its map."""
        size = self.window_size[stage] if isinstance(self.window_size, tuple) else self.window_size
        height, width = self.resolution(stage)
        return min(size, height), min(size, width)

    def shift(self, stage: int) -> Window:
        """Shift of every other block of a stage: half a window, none along a side that is one window."""
        size = self.window_size[stage] if isinstance(self.window_size, tuple) else self.window_size
        height, width = (0 if side <= size else size // 2 for side in self.resolution(stage))
        return height, width


class WindowAttention(nnx.Module):
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
        if dim % num_heads:
            raise ValueError(f"dim {dim} is not divisible by {num_heads} heads")
        self.num_heads = num_heads
        self.window = window
        offsets = (2 * window[0] - 1) * (2 * window[1] - 1)
        self.relative_position_bias_table = nnx.Param(
            trunc_normal(layer["rngs"].params(), (offsets, num_heads), layer.get("param_dtype", jnp.float32))
        )
        self.qkv = nnx.Linear(dim, 3 * dim, use_bias=qkv_bias, kernel_init=trunc_normal, **layer)
        self.attn_drop = Dropout(attn_drop)
        self.proj = nnx.Linear(dim, dim, kernel_init=trunc_normal, **layer)
        self.proj_drop = Dropout(proj_drop)

    def __call__(
        self, x: Float[Array, "b windows n c"], mask: Float[np.ndarray, "windows n n"] | None = None, rngs: Rngs = None
    ) -> Float[Array, "b windows n c"]:
        """Attends within each window; ``mask`` is added to the logits of all heads."""
        batch, windows, tokens, dim = x.shape
        qkv = self.qkv(x).reshape(batch, windows, tokens, 3, self.num_heads, dim // self.num_heads)
        query, key, value = (qkv[..., index, :, :] for index in range(3))
        bias = self.bias() if mask is None else self.bias() + mask[:, None]
        x = attend(query, key, value, bias=bias, dropout=self.attn_drop, rngs=rngs)
        return self.proj_drop(self.proj(x.reshape(batch, windows, tokens, dim)), rngs)

    def bias(self) -> Float[Array, "1 heads n n"]:
        """The bias of every pair of positions."""
        index = relative_position_index(self.window)
        return self.relative_position_bias_table[...][index].transpose(2, 0, 1)[None]


class SwinBlock(nnx.Module):
    """A transformer block whose attention is within windows, shifted or not (section 3.2, eq. 3)."""

    def __init__(
        self,
        dim: int,
        num_heads: int,
        window: Window,
        shift: Window = (0, 0),
        *,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        norm_eps: float = 1e-5,
        proj_drop: float = 0.0,
        attn_drop: float = 0.0,
        drop_path: float = 0.0,
        **layer: Unpack[LayerArgs],
    ):
        self.window, self.shift = window, shift
        self.norm1 = LayerNorm(dim, eps=norm_eps, **layer)
        self.attn = WindowAttention(
            dim, num_heads, window, qkv_bias=qkv_bias, attn_drop=attn_drop, proj_drop=proj_drop, **layer
        )
        self.drop_path1 = DropPath(drop_path)
        self.norm2 = LayerNorm(dim, eps=norm_eps, **layer)
        self.mlp = Mlp(dim, int(dim * mlp_ratio), drop=proj_drop, **layer)
        self.drop_path2 = DropPath(drop_path)

    def __call__(self, x: Float[Array, "b h w c"], train: bool = False, rngs: Rngs = None) -> Float[Array, "b h w c"]:
        """Attends within windows, then transforms each token."""
        x = x + self.drop_path1(self._attend(self.norm1(x), rngs), rngs)
        return x + self.drop_path2(self.mlp(self.norm2(x), rngs), rngs)

    def _attend(self, x: Float[Array, "b h w c"], rngs: Rngs) -> Float[Array, "b h w c"]:
        height, width = x.shape[1:3]
        shift = tuple(-step for step in self.shift)
        shifted = jnp.roll(x, shift, axis=(1, 2)) if any(shift) else x
        # Shifted first and padded after, as the published weights were trained with timm's and tested against it.
        shifted = pad_to_multiple(shifted, self.window)
        padded = shifted.shape[1:3]
        mask = shift_mask((padded[0], padded[1]), self.window, self.shift) if any(shift) else None
        windows = self.attn(partition(shifted, self.window), mask, rngs)
        x = merge(windows, self.window, (padded[0], padded[1]))[:, :height, :width]
        return jnp.roll(x, self.shift, axis=(1, 2)) if any(shift) else x


def partition(x: Float[Array, "b h w c"], window: Window) -> Float[Array, "b windows n c"]:
    """Cuts a map into its windows, row by row."""
    batch, height, width, dim = x.shape
    rows, columns = height // window[0], width // window[1]
    x = x.reshape(batch, rows, window[0], columns, window[1], dim).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(batch, rows * columns, window[0] * window[1], dim)


def merge(windows: Float[Array, "b windows n c"], window: Window, size: tuple[int, int]) -> Float[Array, "b h w c"]:
    """Puts a map of this size together from its windows: the inverse of `partition`."""
    batch, *_, dim = windows.shape
    rows, columns = size[0] // window[0], size[1] // window[1]
    x = windows.reshape(batch, rows, columns, window[0], window[1], dim).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(batch, *size, dim)


@lru_cache(maxsize=64)
def shift_mask(size: tuple[int, int], window: Window, shift: Window) -> Float[np.ndarray, "windows n n"]:
    """What keeps apart, after the shift, tokens of one window that come from different sides of the map (figure 4).

    -100, as in the authors' code, where two positions were not neighbours, else 0.
    """
    regions = []
    for side, length, step in zip(size, window, shift, strict=True):
        position = np.arange(side)
        regions.append((position >= side - length).astype(int) + (position >= side - step) if step else 0 * position)
    region = 3 * regions[0][:, None] + regions[1][None, :]
    rows, columns = size[0] // window[0], size[1] // window[1]
    region = region.reshape(rows, window[0], columns, window[1]).transpose(0, 2, 1, 3).reshape(rows * columns, -1)
    return np.where(region[:, None, :] == region[:, :, None], 0, -100).astype(np.float32)


class SwinStage(nnx.Module):
    """Merges patches, but for the first stage, then runs blocks of which every other one shifts its windows."""

    def __init__(self, config: SwinConfig, stage: int, drop_paths: list[float], **layer: Unpack[LayerArgs]):
        c = config
        dim = c.embed_dim * 2**stage
        self.downsample = PatchMerging(dim // 2, dim, norm_eps=c.norm_eps, **layer) if stage else None
        self.blocks = Stack(
            [
                SwinBlock(
                    dim,
                    c.num_heads[stage],
                    c.window(stage),
                    c.shift(stage) if index % 2 else (0, 0),
                    mlp_ratio=c.mlp_ratio,
                    qkv_bias=c.qkv_bias,
                    norm_eps=c.norm_eps,
                    proj_drop=c.proj_drop_rate,
                    attn_drop=c.attn_drop_rate,
                    drop_path=drop_path,
                    **layer,
                )
                for index, drop_path in enumerate(drop_paths)
            ],
            remat=c.remat,
            scan=c.scan,
        )

    def __call__(self, x: Float[Array, "b h w c"], train: bool = False, rngs: Rngs = None) -> Float[Array, "b H W d"]:
        """Halves the map and doubles the channels, but for the first stage, and runs the blocks."""
        x = x if self.downsample is None else self.downsample(x)
        return self.blocks(x, train=train, rngs=rngs)


class SwinTransformer(ImageModel):
    """Swin Transformer."""

    input_conv = "patch_embed.proj"
    heads = ("head.fc",)

    def __init__(self, config: SwinConfig, **layer: Unpack[LayerArgs]):
        c = self.config = config
        self.num_features = c.embed_dim * 2 ** (len(c.depths) - 1)
        self.patch_embed = PatchEmbed(c.patch_size, c.in_chans, c.embed_dim, norm_eps=c.norm_eps, pad=True, **layer)
        total = sum(c.depths)
        drop_paths = [c.drop_path_rate * index / max(total - 1, 1) for index in range(total)]
        starts = np.cumsum([0, *c.depths])
        self.layers = nnx.List(
            [
                SwinStage(c, stage, drop_paths[starts[stage] : starts[stage + 1]], **layer)
                for stage in range(len(c.depths))
            ]
        )
        self.norm: LayerNorm | None = LayerNorm(self.num_features, eps=c.norm_eps, **layer)
        self.head = ClassifierHead(self.make_classifier(c.num_classes, **layer), drop_rate=c.drop_rate)
        name_sites(self)

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
            FeatureLevel(f"layers.{stage}", c.embed_dim * 2**stage, c.patch_size * 2**stage)
            for stage in range(len(self.layers))
        )

    def feature_maps(
        self, images: Float[Array, "b h w c"], train: bool = False, rngs: Rngs = None
    ) -> Iterator[tuple[str, Float[Array, "b H W d"]]]:
        """What the stages give, one after the other, without a norm."""
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

    def make_classifier(self, num_classes: int, **layer: Unpack[LayerArgs]) -> nnx.Linear | None:
        """A linear layer; None for 0 classes."""
        width = self.head_hidden_size
        return nnx.Linear(width, num_classes, kernel_init=trunc_normal, **layer) if num_classes else None

    def classify(
        self, pooled: Float[Array, "b d"], train: bool = False, rngs: Rngs = None
    ) -> Float[Array, "b classes"]:
        """Logits of pooled features."""
        return self.head(pooled, train, site_keys(rngs))

    def adapt_weights(self, weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Resizes the position bias tables of a checkpoint, made for square windows, to this model's windows."""
        adapted = dict(weights)
        for stage, layers in enumerate(self.layers):
            for index, block in enumerate(layers.blocks):
                name = f"layers.{stage}.blocks.{index}.attn.relative_position_bias_table"
                if name in adapted and adapted[name].shape[0] != block.attn.relative_position_bias_table.shape[0]:
                    side = (square_grid(adapted[name].shape[0])[0] + 1) // 2
                    adapted[name] = resize_relative_position_bias(adapted[name], block.window, (side, side))
        return adapted


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
