"""Vision Transformer (Dosovitskiy et al. 2021, arXiv:2010.11929) and its descendants under timm's names.

DeiT (Touvron et al. 2021) adds a distillation token, DeiT III (2022) LayerScale and position embeddings for patches
only, DINOv2 (Oquab et al. 2023) a gated MLP, Darcet et al. (2024) register tokens, CLIP (Radford et al. 2021) a norm
before the blocks, SigLIP (Zhai et al. 2023) pooling by attention, BEiT-3 (Wang et al. 2023) norms inside the
branches, AIMv2 (Fini et al. 2024) RMS norms and no biases, FlexiViT (Beyer et al. 2023) patches of any size. Others
have other blocks: branches side by side (Touvron et al. 2022, "Three things"), attention beside the MLP (Dehghani et
al. 2023, "ViT-22B"), norms after the branches, differential attention (Ye et al. 2024).
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Self, Unpack

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from jaxvision.models.family import Family, check_choices, pair
from jaxvision.models.feature_info import FeatureLevel
from jaxvision.models.head import run_classifier
from jaxvision.models.image_model import ImageModel
from jaxvision.nn.attention import Attention
from jaxvision.nn.diff_attention import DiffAttention
from jaxvision.nn.drop import Dropout, Rngs, name_sites, site_keys
from jaxvision.nn.init import nearly_zero, small_normal
from jaxvision.nn.layer_args import LayerArgs
from jaxvision.nn.linear import Linear
from jaxvision.nn.mlp import GluMlp, Mlp, SwiGLU
from jaxvision.nn.norm import LayerNorm
from jaxvision.nn.parallel_scaling import DiffParallelScalingBlock, ParallelScalingBlock
from jaxvision.nn.patch import PatchEmbed, resample_patch_embed
from jaxvision.nn.patch_drop import PatchDropout
from jaxvision.nn.pool import AttentionPoolLatent, pool_over, refined_pool
from jaxvision.nn.position import INTERPOLATIONS, PositionFit, crop_pos_embed, resize_pos_embed, square_grid
from jaxvision.nn.rms_norm import NormLayer, RMSNorm, TokenNorm
from jaxvision.nn.stack import Stack
from jaxvision.nn.transformer import Block, BlockParts, ParallelThingsBlock, ResPostBlock
from jaxvision.paths import suggestion

_NORMS: dict[str, NormLayer] = {"layernorm": LayerNorm, "rmsnorm": RMSNorm}
_MLPS: dict[str, Any] = {"mlp": Mlp, "glu": GluMlp, "swiglu": SwiGLU}
_ATTENTIONS: dict[str, Any] = {"softmax": Attention, "diff": DiffAttention}
_SERIAL_BLOCKS: dict[str, Callable[[BlockParts], nnx.Module]] = {
    "pre": Block,
    "res_post": ResPostBlock,
    "parallel_things": ParallelThingsBlock,
}
_SCALING_BLOCKS: dict[str, Callable[..., nnx.Module]] = {
    "parallel_scaling": ParallelScalingBlock,
    "diff_parallel_scaling": DiffParallelScalingBlock,
}
_CHOICES: dict[str, Any] = {
    "norm": _NORMS,
    "mlp": _MLPS,
    "attn": _ATTENTIONS,
    "block": {**_SERIAL_BLOCKS, **_SCALING_BLOCKS},
    "global_pool": ("token", "avg", "max", "avgmax", "map", "prr", ""),
    "pos_embed": ("learn", "none"),
    "interpolation": INTERPOLATIONS,
}


@dataclass(frozen=True)
class ViTConfig:
    """One row of the table below; the fields are the options of timm's ``VisionTransformer``.

    Attributes:
        img_size: image height and width in pixels; an int for both.
        patch_size: side of a patch in pixels, or (height, width).
        global_pool: ``"token"`` (the class token), ``"avg"``, ``"max"`` or ``"avgmax"`` over the patches, ``"map"``
            (attention with a learnt query), ``"prr"`` (attention without parameters, then the class token or the
            mean), or ``""`` for no pooling: the head then sees every token.
        qk_norm: norms of the queries and keys of every head.
        scale_attn_norm: a norm before attention's output projection.
        scale_mlp_norm: a norm before the MLP's second layer.
        proj_bias: biases in attention's output projection and in the MLP.
        init_values: LayerScale's initial value; None for no LayerScale.
        reg_tokens: number of register tokens.
        distilled: DeiT's distillation token and its head; the two heads' logits are averaged.
        pos_embed: ``"learn"`` or ``"none"``.
        no_embed_class: position embeddings for the patches only, not for the tokens before them.
        pre_norm: a norm before the blocks, and no bias in the patch embedding (CLIP).
        embed_norm: a norm in the patch embedding.
        final_norm: a norm after the blocks.
        fc_norm: that norm after pooling instead of before it; None for only where patches are averaged.
        pool_include_prefix: pool over the tokens before the patches too.
        norm: ``"layernorm"`` or ``"rmsnorm"``.
        norm_eps: epsilon of every norm.
        act: the MLP's activation (`jaxvision.nn.activation`).
        mlp: ``"mlp"``, or with a gate ``"glu"`` (its layer packed with the other) or ``"swiglu"`` (not).
        attn: ``"softmax"``, or ``"diff"`` for differential attention.
        block: ``"pre"`` (norms before the branches), ``"res_post"`` (after them), ``"parallel_things"`` (two attentions
            side by side, then two MLPs), ``"parallel_scaling"`` (attention and MLP side by side, as in ViT-22B), or
            ``"diff_parallel_scaling"`` (the same with differential attention).
        dynamic_img_size: accept images of other sizes, resizing the position embeddings at every call.
        dynamic_img_pad: pad images to whole patches; else what is left over of an image of ``img_size`` is not seen,
            and other sizes must be whole patches.
        interpolation: how weights for another size are fitted at load, see `jaxvision.nn.resize_pos_embed`.
        drop_rate: dropout before the classifier; the other rates likewise where they say.
        patch_drop_rate: share of the patches that are left out.
        drop_path_rate: stochastic depth of the last block; it grows linearly from 0.
        remat: see `jaxvision.nn.Stack`.
        scan: see `jaxvision.nn.Stack`.
    """

    img_size: int | tuple[int, int] = 224
    patch_size: int | tuple[int, int] = 16
    in_chans: int = 3
    num_classes: int = 1000
    global_pool: str = "token"
    embed_dim: int = 768
    depth: int = 12
    num_heads: int = 12
    mlp_ratio: float = 4.0
    qkv_bias: bool = True
    qk_norm: bool = False
    scale_attn_norm: bool = False
    scale_mlp_norm: bool = False
    proj_bias: bool = True
    init_values: float | None = None
    class_token: bool = True
    reg_tokens: int = 0
    distilled: bool = False
    pos_embed: str = "learn"
    no_embed_class: bool = False
    pre_norm: bool = False
    embed_norm: bool = False
    final_norm: bool = True
    fc_norm: bool | None = None
    pool_include_prefix: bool = False
    norm: str = "layernorm"
    norm_eps: float = 1e-6
    act: str = "gelu"
    mlp: str = "mlp"
    attn: str = "softmax"
    block: str = "pre"
    dynamic_img_size: bool = False
    dynamic_img_pad: bool = False
    interpolation: str = "bicubic"
    drop_rate: float = 0.0
    pos_drop_rate: float = 0.0
    patch_drop_rate: float = 0.0
    proj_drop_rate: float = 0.0
    attn_drop_rate: float = 0.0
    drop_path_rate: float = 0.0
    remat: str | None = None
    scan: bool = False

    def __post_init__(self) -> None:
        for field, known in _CHOICES.items():
            value = getattr(self, field)
            if value not in known:
                raise ValueError(f"{field} must be one of {tuple(known)}, got {value!r}{suggestion(value, known)}")
        if self.global_pool == "token" and not self.class_token:
            raise ValueError("global_pool='token' needs class_token=True; use 'avg' or 'map' without one")
        if self.distilled and self.global_pool != "token":
            raise ValueError("distilled=True reads the class and distillation tokens: it needs global_pool='token'")
        if self.block in _SCALING_BLOCKS:
            only = {"mlp": "mlp", "attn": "softmax", "scale_attn_norm": False, "scale_mlp_norm": False}
            for field, value in only.items():
                if getattr(self, field) != value:
                    raise ValueError(f"block={self.block!r} has its own attention and MLP: {field} must be {value!r}")
        if min(self.grid) < 1:
            raise ValueError(f"img_size {self.img_size} is smaller than one patch of {self.patch_size}")

    @property
    def patch(self) -> tuple[int, int]:
        """Height and width of a patch."""
        return pair(self.patch_size)

    @property
    def grid(self) -> tuple[int, int]:
        """Patches per column and row."""
        height, width = pair(self.img_size)
        return height // self.patch[0], width // self.patch[1]

    @property
    def num_prefix_tokens(self) -> int:
        """Tokens before the patches: class, distillation, registers."""
        return int(self.class_token) + int(self.distilled) + self.reg_tokens

    @property
    def num_prefix_embeddings(self) -> int:
        """Position embeddings before those of the patches."""
        return 0 if self.no_embed_class else self.num_prefix_tokens


def _make_block(c: ViTConfig, index: int, **layer: Unpack[LayerArgs]) -> nnx.Module:
    """The block of this number; the rate of its stochastic depth grows with it."""
    drop_path = c.drop_path_rate * index / max(c.depth - 1, 1)
    norms = {"norm_layer": _NORMS[c.norm], "norm_eps": c.norm_eps}
    attention = {
        "qkv_bias": c.qkv_bias,
        "qk_norm": c.qk_norm,
        "proj_bias": c.proj_bias,
        "attn_drop": c.attn_drop_rate,
        "proj_drop": c.proj_drop_rate,
        **({"index": index} if c.attn == "diff" or c.block == "diff_parallel_scaling" else {}),
        **norms,
        **layer,
    }
    if c.block in _SCALING_BLOCKS:
        scaling = {"mlp_ratio": c.mlp_ratio, "act": c.act, "init_values": c.init_values, "drop_path": drop_path}
        return _SCALING_BLOCKS[c.block](c.embed_dim, c.num_heads, **scaling, **attention)
    mlp = {"act": c.act, "use_bias": c.proj_bias, "scale_norm": c.scale_mlp_norm, "drop": c.proj_drop_rate}
    parts = BlockParts(
        c.embed_dim,
        norm=partial(_NORMS[c.norm], c.embed_dim, eps=c.norm_eps, **layer),
        attn=partial(_ATTENTIONS[c.attn], c.embed_dim, c.num_heads, scale_norm=c.scale_attn_norm, **attention),
        mlp=partial(_MLPS[c.mlp], c.embed_dim, int(c.embed_dim * c.mlp_ratio), **mlp, **norms, **layer),
        init_values=c.init_values,
        drop_path=drop_path,
        param_dtype=layer.get("param_dtype", jnp.float32),
    )
    return _SERIAL_BLOCKS[c.block](parts)


class VisionTransformer(ImageModel):
    """Vision Transformer."""

    input_conv = "patch_embed.proj"
    default_out_indices = 3

    def __init__(self, config: ViTConfig, **layer: Unpack[LayerArgs]):
        c = self.config = config
        rngs, param_dtype = layer["rngs"], layer.get("param_dtype", jnp.float32)
        self.num_features = c.embed_dim
        norm_layer = _NORMS[c.norm]

        def tokens(count: int, init: nnx.Initializer) -> nnx.Param | None:
            return nnx.Param(init(rngs.params(), (1, count, c.embed_dim), param_dtype)) if count else None

        def norm(wanted: bool) -> TokenNorm | None:
            return norm_layer(c.embed_dim, eps=c.norm_eps, **layer) if wanted else None

        self.patch_embed = PatchEmbed(
            c.patch_size,
            c.in_chans,
            c.embed_dim,
            use_bias=not c.pre_norm,
            norm_layer=norm_layer,
            norm_eps=c.norm_eps if c.embed_norm else None,
            pad=c.dynamic_img_pad,
            **layer,
        )
        self.cls_token = tokens(int(c.class_token), nearly_zero)
        self.dist_token = tokens(int(c.distilled), small_normal)
        self.reg_token = tokens(c.reg_tokens, nearly_zero)
        embedded = c.grid[0] * c.grid[1] + c.num_prefix_embeddings if c.pos_embed == "learn" else 0
        self.pos_embed = tokens(embedded, small_normal)
        self.pos_drop = Dropout(c.pos_drop_rate)
        self.patch_drop = PatchDropout(c.patch_drop_rate, c.num_prefix_tokens)
        self.norm_pre = norm(c.pre_norm)
        self.blocks = Stack([_make_block(c, index, **layer) for index in range(c.depth)], remat=c.remat, scan=c.scan)
        after_pool = c.global_pool in ("avg", "max", "avgmax") if c.fc_norm is None else c.fc_norm
        self.norm = norm(c.final_norm and not after_pool)
        self.attn_pool = (
            AttentionPoolLatent(
                c.embed_dim,
                c.num_heads,
                mlp_ratio=c.mlp_ratio,
                act=c.act,
                norm_layer=norm_layer,
                norm_eps=c.norm_eps,
                **layer,
            )
            if c.global_pool == "map"
            else None
        )
        self.left_out = () if self.attn_pool is not None else ("attn_pool",)
        self.fc_norm = norm(c.final_norm and after_pool)
        self.head_drop = Dropout(c.drop_rate)
        self.heads = ("head", "head_dist") if c.distilled else ("head",)
        self.head = self.make_classifier(c.num_classes, **layer)
        self.head_dist = self.make_classifier(c.num_classes, **layer) if c.distilled else None
        name_sites(self)

    @property
    def block_paths(self) -> tuple[tuple[str, ...], ...]:
        """Paths of the blocks; all have one resolution, so these are quarters of the depth (fewer blocks, fewer)."""
        depth, parts = len(self.blocks), min(4, len(self.blocks))
        edges = [depth * part // parts for part in range(parts + 1)]
        return tuple(tuple(f"blocks.{i}" for i in range(*edges[part : part + 2])) for part in range(parts))

    def forward_features(
        self, images: Float[Array, "b h w c"], train: bool = False, rngs: Rngs = None
    ) -> Float[Array, "b n d"]:
        """All tokens after the last block, prefix tokens first."""
        keys = site_keys(rngs)
        return self.final_layers(self.blocks(self._tokens(images, keys), train=train, rngs=keys))

    def feature_levels(self) -> tuple[FeatureLevel, ...]:
        """Every block's map; all have one size."""
        c = self.config
        return tuple(FeatureLevel(f"blocks.{index}", c.embed_dim, max(c.patch)) for index in range(len(self.blocks)))

    def feature_maps(
        self, images: Float[Array, "b h w c"], train: bool = False, rngs: Rngs = None
    ) -> Iterator[tuple[str, Float[Array, "b n d"]]]:
        """The tokens after every block, one after the other, without a norm."""
        keys = site_keys(rngs)
        outputs = self.blocks.outputs(self._tokens(images, keys), train=train, rngs=keys)
        yield from ((f"blocks.{index}", x) for index, x in enumerate(outputs))

    def final_layers(self, x: Float[Array, "b n d"], train: bool = False) -> Float[Array, "b n d"]:
        """The norm after the last block, if it does not come after the pooling."""
        return self.final_norm(x)

    def forward_intermediates(
        self,
        images: Float[Array, "b h w c"],
        indices: int | Sequence[int] | None = None,
        *,
        return_prefix_tokens: bool = False,
        output_fmt: str = "NHWC",
        intermediates_only: bool = False,
        output_dict: bool = False,
        **options: Any,
    ) -> Any:
        """Patch tokens after the blocks as maps; see `ImageModel.forward_intermediates`.

        With ``return_prefix_tokens`` each item is a pair: the map, and the tokens before the patches (class,
        distillation, registers), (batch, tokens, channels); a dict has the latter in ``"image_intermediates_prefix"``.
        With ``output_fmt="NLC"`` the maps are tokens, (batch, patches, channels).
        """
        check_choices(("output_fmt", output_fmt, ("NHWC", "NLC")))
        found = super().forward_intermediates(
            images, indices, intermediates_only=intermediates_only, output_dict=True, **options
        )
        tokens, prefix = found["image_intermediates"], self.config.num_prefix_tokens
        maps = [y[:, prefix:] for y in tokens]
        if output_fmt == "NHWC":
            maps = [y.reshape(y.shape[0], *self._grid(images), y.shape[-1]) for y in maps]
        before = {"image_intermediates_prefix": [y[:, :prefix] for y in tokens]} if return_prefix_tokens else {}
        if output_dict:
            return {**found, "image_intermediates": maps, **before}
        items = list(zip(maps, *before.values(), strict=True)) if before else maps
        return items if intermediates_only else (found["image_features"], items)

    def keep_levels(self, count: int) -> None:
        """Removes all that the first ``count`` blocks do not need."""
        self.reset_classifier(0)
        self.left_out = ("norm", "fc_norm", "attn_pool", *(f"blocks.{i}" for i in range(count, len(self.blocks))))
        del self.blocks[count:]
        self.norm = self.fc_norm = self.attn_pool = None

    @property
    def head_hidden_size(self) -> int:
        """Channels of the pooled features, which the classifier sees."""
        return self.num_features

    @property
    def head_widths(self) -> tuple[int, ...]:
        """Channels that a classifier of this network may see: the same with every pooling."""
        return (self.num_features,)

    def make_classifier(self, num_classes: int, **layer: Unpack[LayerArgs]) -> Linear | None:
        """A linear layer; None for 0 classes."""
        return Linear(self.num_features, num_classes, kernel_init=small_normal, **layer) if num_classes else None

    def reset_classifier(self, num_classes: int, global_pool: str | None = None, *, seed: int = 0) -> Self:
        """See `ImageModel.reset_classifier`; where the last norm is, before the pooling or after it, stays as it is.

        Raises:
            ValueError: attention pooling is asked for, which has weights of its own, and the model has none; or a
                pooling that does not exist, or not for this model.
        """
        if global_pool == "map" and self.attn_pool is None:
            raise ValueError("attention pooling has weights of its own: build the model with global_pool='map'")
        if global_pool is not None:
            self.config = replace(self.config, global_pool=global_pool, fc_norm=self.fc_norm is not None)
            if global_pool != "map" and self.attn_pool is not None:
                self.attn_pool, self.left_out = None, (*self.left_out, "attn_pool")
        return super().reset_classifier(num_classes, seed=seed)

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

    def adapt_weights(
        self,
        weights: Mapping[str, np.ndarray],
        img_size: tuple[int, int] | None = None,
        fit: PositionFit | None = None,
    ) -> dict[str, np.ndarray]:
        """Fits a checkpoint to this model, as timm's loader does.

        Position embeddings are resized to this model's grid, and patch embeddings to its patch size. Without
        ``img_size`` they are those of this model's grid if there are as many, and of a square one otherwise. A last
        norm goes where this model has it, before or after pooling.
        """
        c, adapted, fit = self.config, dict(weights), fit or PositionFit()
        interpolation = fit.interpolation or c.interpolation
        kernel = adapted.get("patch_embed.proj.kernel")
        if kernel is not None and kernel.ndim == 4:
            adapted["patch_embed.proj.kernel"] = resample_patch_embed(kernel, c.patch, interpolation)
        given = adapted.get("pos_embed")
        if self.pos_embed is not None and given is not None and given.ndim == 3:
            prefix, positions = c.num_prefix_embeddings, jnp.asarray(given)
            if fit.crop:
                fitted = crop_pos_embed(positions, c.grid, prefix, interpolation)
            else:
                old_grid = _old_grid(given.shape[1] - prefix, c.grid, img_size, kernel)
                fitted = resize_pos_embed(positions, c.grid, old_grid, prefix, interpolation)
            if fitted is not positions:
                adapted["pos_embed"] = np.asarray(fitted)
        for here, there in (("norm", "fc_norm"), ("fc_norm", "norm")):
            if getattr(self, here) is not None and getattr(self, there) is None:
                adapted = {_moved(name, there, here): array for name, array in adapted.items()}
        return adapted

    def _tokens(self, images: Float[Array, "b h w c"], rngs: Rngs) -> Float[Array, "b n d"]:
        """What enters the blocks."""
        self._check(images)
        x = self.pos_drop(self._embed(self.patch_embed(images)), rngs)
        x = self.patch_drop(x, rngs)
        return x if self.norm_pre is None else self.norm_pre(x)

    def _check(self, images: Float[Array, "b h w c"]) -> None:
        c = self.config
        size = pair(c.img_size)
        if images.ndim != 4 or images.shape[-1] != c.in_chans:
            raise ValueError(f"expected images of shape (batch, height, width, {c.in_chans}), got {images.shape}")
        if images.shape[1:3] == size:
            return
        if not c.dynamic_img_size:
            raise ValueError(
                f"expected images of {size[0]}x{size[1]}, got {images.shape[1]}x{images.shape[2]}; "
                "build the model with img_size=..., or with dynamic_img_size=True for any size"
            )
        if not c.dynamic_img_pad and (images.shape[1] % c.patch[0] or images.shape[2] % c.patch[1]):
            raise ValueError(
                f"images of {images.shape[1]}x{images.shape[2]} are not whole patches of {c.patch_size}; resize them, "
                "or build the model with dynamic_img_pad=True"
            )

    def _grid(self, images: Float[Array, "b h w c"]) -> tuple[int, int]:
        """Patches per column and row of these images."""
        height, width = self.config.patch
        more = (height - 1, width - 1) if self.config.dynamic_img_pad else (0, 0)
        return (images.shape[1] + more[0]) // height, (images.shape[2] + more[1]) // width

    def _embed(self, x: Float[Array, "b gh gw d"]) -> Float[Array, "b n d"]:
        c = self.config
        batch, *grid, dim = x.shape
        x = x.reshape(batch, -1, dim)
        tokens = [token for token in (self.cls_token, self.dist_token, self.reg_token) if token is not None]
        prefix = [jnp.broadcast_to(t[...].astype(x.dtype), (batch, *t.shape[1:])) for t in tokens]
        if self.pos_embed is None:
            return jnp.concatenate([*prefix, x], axis=1)
        positions = resize_pos_embed(self.pos_embed[...], (grid[0], grid[1]), c.grid, c.num_prefix_embeddings)
        positions = positions.astype(x.dtype)
        if c.no_embed_class:
            return jnp.concatenate([*prefix, x + positions], axis=1)
        return jnp.concatenate([*prefix, x], axis=1) + positions

    def _pool(self, x: Float[Array, "b n d"]) -> Array:
        c = self.config
        if c.global_pool == "":
            return x
        if c.global_pool == "token":
            return x[:, 0]
        if c.global_pool == "prr":
            return refined_pool(x, c.num_heads, "token" if c.class_token else "avg")
        if not c.pool_include_prefix:
            x = x[:, c.num_prefix_tokens :]
        return pool_over(x, (1,), c.global_pool) if self.attn_pool is None else self.attn_pool(x)


def _moved(name: str, there: str, here: str) -> str:
    return f"{here}.{name.removeprefix(f'{there}.')}" if name.startswith(f"{there}.") else name


def _old_grid(
    count: int, new_grid: tuple[int, int], img_size: tuple[int, int] | None, kernel: np.ndarray | None
) -> tuple[int, int]:
    """The grid of ``count`` position embeddings: that of ``img_size`` in patches of ``kernel``, if they are so many."""
    if img_size is not None and kernel is not None:
        rows, columns = img_size[0] // kernel.shape[0], img_size[1] // kernel.shape[1]
        if rows * columns == count:
            return rows, columns
    return new_grid if math.prod(new_grid) == count else square_grid(count)


def _size(embed_dim: int, depth: int, num_heads: int, **options: Any) -> ViTConfig:
    return ViTConfig(embed_dim=embed_dim, depth=depth, num_heads=num_heads, **options)


def _variant(size: ViTConfig, patch_size: int, img_size: int, **options: Any) -> ViTConfig:
    return replace(size, **{"patch_size": patch_size, "img_size": img_size, **options})


_TINY, _SMALL, _BASE = _size(192, 12, 3), _size(384, 12, 6), _size(768, 12, 12)
_LARGE, _HUGE = _size(1024, 24, 16), _size(1280, 32, 16)
_MEDIUM, _BETWIXT, _PLUS = _size(512, 12, 8), _size(640, 12, 10), _size(896, 12, 14)
_GIANT, _GIGANTIC = _size(1408, 40, 16, mlp_ratio=48 / 11), _size(1664, 48, 16, mlp_ratio=64 / 13)
_GATED: dict[str, Any] = {"mlp": "glu", "act": "silu", "mlp_ratio": 2.66667 * 2}
_GIANT_40, _GIANT_OPT = _size(1536, 40, 24), _size(1536, 40, 16)
# Shapes found by scaling laws (Alabdulmohsin et al. 2023, "SoViT"), and timm's own small ones.
_SO150M, _SO150M2 = _size(896, 18, 14, mlp_ratio=2.572), _size(832, 21, 13, mlp_ratio=34 / 13)
_SO400M = _size(1152, 27, 16, mlp_ratio=3.7362)
_XSMALL, _MEDIUM_DEEP = _size(256, 10, 4), _size(512, 20, 8)
_WEE, _WEE_DEEP = _size(256, 14, 4, mlp_ratio=5.0), _size(256, 16, 4, mlp_ratio=5.0)
_LITTLE = _size(320, 14, 5, mlp_ratio=5.6)

_GAP: dict[str, Any] = {"class_token": False, "global_pool": "avg", "fc_norm": False}
_GAP_MEDIUM: dict[str, Any] = {**_GAP, "qkv_bias": False, "init_values": 1e-6}
_REG: dict[str, Any] = {"class_token": False, "global_pool": "avg", "no_embed_class": True}
_REG1: dict[str, Any] = {**_REG, "reg_tokens": 1, "init_values": 1e-5}
_REG4: dict[str, Any] = {**_REG, "reg_tokens": 4, "init_values": 1e-5}
_SO150M2_REG1: dict[str, Any] = {
    "class_token": False,
    "global_pool": "avg",
    "reg_tokens": 1,
    "init_values": 1e-5,
    "qkv_bias": False,
}
_XP: dict[str, Any] = {
    "block": "parallel_scaling",
    "pre_norm": True,
    "no_embed_class": True,
    "norm": "rmsnorm",
    "qkv_bias": False,
    "qk_norm": True,
}
_DEIT3: dict[str, Any] = {"no_embed_class": True, "init_values": 1e-6}
_FLEXI: dict[str, Any] = {"no_embed_class": True, "interpolation": "bilinear"}
_CLIP: dict[str, Any] = {"pre_norm": True, "norm_eps": 1e-5}
_QUICK_CLIP: dict[str, Any] = {**_CLIP, "act": "quick_gelu"}
_DINOV2: dict[str, Any] = {"init_values": 1e-5}
_DINOV2_REG4: dict[str, Any] = {"init_values": 1e-5, "reg_tokens": 4, "no_embed_class": True}
_TIPSV2: dict[str, Any] = {"init_values": 1.0, "reg_tokens": 1, "no_embed_class": True}
_MAP: dict[str, Any] = {"class_token": False, "global_pool": "map"}
_TANH: dict[str, Any] = {"act": "gelu_tanh"}
_RADIO: dict[str, Any] = {"no_embed_class": True, "final_norm": False, "interpolation": "bilinear"}
_RADIO_V3: dict[str, Any] = {**_RADIO, "reg_tokens": 7}
_RADIO_V4: dict[str, Any] = {**_RADIO, "reg_tokens": 9}
_ALIGNED: dict[str, Any] = {"interpolation": "bilinear_aligned"}
_BEIT3: dict[str, Any] = {"scale_attn_norm": True, "scale_mlp_norm": True, "global_pool": "avg", "norm_eps": 1e-5}
_AIMV2: dict[str, Any] = {
    **_GAP,
    "qkv_bias": False,
    "proj_bias": False,
    "norm": "rmsnorm",
    "norm_eps": 1e-5,
    "embed_norm": True,
    "mlp": "swiglu",
    "act": "silu",
}
_AIMV2_LARGE, _AIMV2_HUGE = _size(1024, 24, 8, mlp_ratio=2.75), _size(1536, 24, 12, mlp_ratio=2.6667)
_AIMV2_1B, _AIMV2_3B = _size(2048, 24, 16, mlp_ratio=2.75), _size(3072, 24, 24, mlp_ratio=2.6667)
_TEST, _TEST_WIDE = _size(64, 6, 2, mlp_ratio=3.0), _size(96, 9, 3, mlp_ratio=3.0)
_TEST_REG1: dict[str, Any] = {"class_token": False, "reg_tokens": 1, "init_values": 1e-5}


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
    "vit_base_patch32_plus_256": _variant(_PLUS, 32, 256, init_values=1e-5),
    "vit_base_patch16_plus_240": _variant(_PLUS, 16, 240, init_values=1e-5),
    "vit_large_patch32_224": _variant(_LARGE, 32, 224),
    "vit_large_patch32_384": _variant(_LARGE, 32, 384),
    "vit_large_patch16_224": _variant(_LARGE, 16, 224),
    "vit_large_patch16_384": _variant(_LARGE, 16, 384),
    "vit_large_patch14_224": _variant(_LARGE, 14, 224),
    "vit_huge_patch14_224": _variant(_HUGE, 14, 224),
    "vit_giant_patch14_224": _variant(_GIANT, 14, 224),
    "vit_gigantic_patch14_224": _variant(_GIGANTIC, 14, 224),
    # EVA and InternViT.
    "eva_large_patch14_196": _variant(_LARGE, 14, 196, global_pool="avg"),
    "eva_large_patch14_336": _variant(_LARGE, 14, 336, global_pool="avg"),
    "vit_intern300m_patch14_448": _variant(_LARGE, 14, 448, init_values=0.1, final_norm=False, dynamic_img_size=True),
    # FlexiViT.
    "flexivit_small": _variant(_SMALL, 16, 240, **_FLEXI),
    "flexivit_base": _variant(_BASE, 16, 240, **_FLEXI),
    "flexivit_large": _variant(_LARGE, 16, 240, **_FLEXI),
    # Average pooling, no class token.
    "vit_medium_patch16_gap_240": _variant(_MEDIUM, 16, 240, **_GAP_MEDIUM),
    "vit_medium_patch16_gap_256": _variant(_MEDIUM, 16, 256, **_GAP_MEDIUM),
    "vit_medium_patch16_gap_384": _variant(_MEDIUM, 16, 384, **_GAP_MEDIUM),
    "vit_betwixt_patch16_gap_256": _variant(_BETWIXT, 16, 256, **_GAP_MEDIUM),
    "vit_base_patch16_gap_224": _variant(_BASE, 16, 224, **_GAP, num_heads=16),
    "vit_huge_patch14_gap_224": _variant(_HUGE, 14, 224, **_GAP),
    "vit_huge_patch16_gap_448": _variant(_HUGE, 16, 448, **_GAP),
    "vit_giant_patch16_gap_224": _variant(_GIANT, 16, 224, **_GAP),
    # Average pooling, registers.
    "vit_wee_patch16_reg1_gap_256": _variant(_WEE, 16, 256, **_REG1),
    "vit_dwee_patch16_reg1_gap_256": _variant(_WEE, 16, 256, **_REG1, attn="diff"),
    "vit_pwee_patch16_reg1_gap_256": _variant(_WEE_DEEP, 16, 256, **_REG1, block="parallel_scaling"),
    "vit_dpwee_patch16_reg1_gap_256": _variant(_WEE_DEEP, 16, 256, **_REG1, block="diff_parallel_scaling"),
    "vit_little_patch16_reg1_gap_256": _variant(_LITTLE, 16, 256, **_REG1),
    "vit_dlittle_patch16_reg1_gap_256": _variant(_LITTLE, 16, 256, **_REG1, attn="diff"),
    "vit_little_patch16_reg4_gap_256": _variant(_LITTLE, 16, 256, **_REG4),
    "vit_medium_patch16_reg1_gap_256": _variant(_MEDIUM, 16, 256, **_REG1),
    "vit_medium_patch16_reg4_gap_256": _variant(_MEDIUM, 16, 256, **_REG4),
    "vit_mediumd_patch16_reg4_gap_256": _variant(_MEDIUM_DEEP, 16, 256, **_REG4),
    "vit_mediumd_patch16_reg4_gap_384": _variant(_MEDIUM_DEEP, 16, 384, **_REG4),
    "vit_betwixt_patch16_reg1_gap_256": _variant(_BETWIXT, 16, 256, **_REG1),
    "vit_betwixt_patch16_reg4_gap_256": _variant(_BETWIXT, 16, 256, **_REG4),
    "vit_betwixt_patch16_reg4_gap_384": _variant(_BETWIXT, 16, 384, **_REG4),
    "vit_base_patch16_reg4_gap_256": _variant(_BASE, 16, 256, **_REG, reg_tokens=4),
    "vit_so150m_patch16_reg4_map_256": _variant(_SO150M, 16, 256, **_MAP, reg_tokens=4),
    "vit_so150m_patch16_reg4_gap_256": _variant(_SO150M, 16, 256, **_GAP, reg_tokens=4),
    "vit_so150m_patch16_reg4_gap_384": _variant(_SO150M, 16, 384, **_GAP, reg_tokens=4),
    "vit_so150m2_patch16_reg1_gap_256": _variant(_SO150M2, 16, 256, **_SO150M2_REG1),
    "vit_so150m2_patch16_reg1_gap_384": _variant(_SO150M2, 16, 384, **_SO150M2_REG1),
    "vit_so150m2_patch16_reg1_gap_448": _variant(_SO150M2, 16, 448, **_SO150M2_REG1),
    # Other blocks.
    "vit_base_patch16_rpn_224": _variant(
        _BASE, 16, 224, block="res_post", qkv_bias=False, init_values=1e-5, class_token=False, global_pool="avg"
    ),
    "vit_small_patch16_36x1_224": _variant(_SMALL, 16, 224, depth=36, init_values=1e-5),
    "vit_small_patch16_18x2_224": _variant(_SMALL, 16, 224, depth=18, init_values=1e-5, block="parallel_things"),
    "vit_base_patch16_18x2_224": _variant(_BASE, 16, 224, depth=18, init_values=1e-5, block="parallel_things"),
    "vit_base_patch16_xp_224": _variant(_BASE, 16, 224, **_XP),
    "vit_large_patch14_xp_224": _variant(_LARGE, 14, 224, **_XP),
    "vit_huge_patch14_xp_224": _variant(_HUGE, 14, 224, **_XP),
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
    "vit_xsmall_patch16_clip_224": _variant(_XSMALL, 16, 224, **_CLIP),
    "vit_medium_patch32_clip_224": _variant(_MEDIUM, 32, 224, **_CLIP),
    "vit_medium_patch16_clip_224": _variant(_MEDIUM, 16, 224, **_CLIP),
    "vit_betwixt_patch32_clip_224": _variant(_BETWIXT, 32, 224, **_CLIP),
    "vit_base_patch32_clip_224": _variant(_BASE, 32, 224, **_CLIP),
    "vit_base_patch32_clip_256": _variant(_BASE, 32, 256, **_CLIP),
    "vit_base_patch32_clip_384": _variant(_BASE, 32, 384, **_CLIP),
    "vit_base_patch32_clip_448": _variant(_BASE, 32, 448, **_CLIP),
    "vit_base_patch32_clip_quickgelu_224": _variant(_BASE, 32, 224, **_QUICK_CLIP),
    "vit_base_patch16_clip_224": _variant(_BASE, 16, 224, **_CLIP),
    "vit_base_patch16_clip_384": _variant(_BASE, 16, 384, **_CLIP),
    "vit_base_patch16_clip_quickgelu_224": _variant(_BASE, 16, 224, **_QUICK_CLIP),
    "vit_base_patch16_plus_clip_240": _variant(_PLUS, 16, 240, **_CLIP),
    "vit_large_patch14_clip_224": _variant(_LARGE, 14, 224, **_CLIP),
    "vit_large_patch14_clip_336": _variant(_LARGE, 14, 336, **_CLIP),
    "vit_large_patch14_clip_quickgelu_224": _variant(_LARGE, 14, 224, **_QUICK_CLIP),
    "vit_large_patch14_clip_quickgelu_336": _variant(_LARGE, 14, 336, **_QUICK_CLIP),
    "vit_huge_patch14_clip_224": _variant(_HUGE, 14, 224, **_CLIP),
    "vit_huge_patch14_clip_336": _variant(_HUGE, 14, 336, **_CLIP),
    "vit_huge_patch14_clip_378": _variant(_HUGE, 14, 378, **_CLIP),
    "vit_huge_patch14_clip_quickgelu_224": _variant(_HUGE, 14, 224, **_QUICK_CLIP),
    "vit_huge_patch14_clip_quickgelu_378": _variant(_HUGE, 14, 378, **_QUICK_CLIP),
    "vit_giant_patch14_clip_224": _variant(_GIANT, 14, 224, **_CLIP),
    "vit_gigantic_patch14_clip_224": _variant(_GIGANTIC, 14, 224, **_CLIP),
    "vit_gigantic_patch14_clip_378": _variant(_GIGANTIC, 14, 378, **_CLIP),
    "vit_gigantic_patch14_clip_quickgelu_224": _variant(_GIGANTIC, 14, 224, **_QUICK_CLIP),
    # DINOv2, without and with registers.
    "vit_small_patch14_dinov2": _variant(_SMALL, 14, 518, **_DINOV2),
    "vit_base_patch14_dinov2": _variant(_BASE, 14, 518, **_DINOV2),
    "vit_large_patch14_dinov2": _variant(_LARGE, 14, 518, **_DINOV2),
    "vit_giant_patch14_dinov2": _variant(_GIANT_40, 14, 518, **_DINOV2, **_GATED),
    "vit_small_patch14_reg4_dinov2": _variant(_SMALL, 14, 518, **_DINOV2_REG4),
    "vit_base_patch14_reg4_dinov2": _variant(_BASE, 14, 518, **_DINOV2_REG4),
    "vit_large_patch14_reg4_dinov2": _variant(_LARGE, 14, 518, **_DINOV2_REG4),
    "vit_giant_patch14_reg4_dinov2": _variant(_GIANT_40, 14, 518, **_DINOV2_REG4, **_GATED),
    # TIPSv2.
    "vit_base_patch14_reg1_tipsv2": _variant(_BASE, 14, 448, **_TIPSV2),
    "vit_large_patch14_reg1_tipsv2": _variant(_LARGE, 14, 448, **_TIPSV2),
    "vit_so400m_patch14_reg1_tipsv2": _variant(_SO400M, 14, 448, **_TIPSV2),
    "vit_giant_patch14_reg1_tipsv2": _variant(_GIANT_40, 14, 448, **_TIPSV2, **_GATED),
    # SigLIP and SigLIP 2, pooling by attention or by averaging.
    "vit_base_patch32_siglip_256": _variant(_BASE, 32, 256, **_MAP, **_TANH),
    "vit_base_patch32_siglip_gap_256": _variant(_BASE, 32, 256, **_GAP, **_TANH),
    "vit_base_patch16_siglip_224": _variant(_BASE, 16, 224, **_MAP),
    "vit_base_patch16_siglip_256": _variant(_BASE, 16, 256, **_MAP),
    "vit_base_patch16_siglip_384": _variant(_BASE, 16, 384, **_MAP),
    "vit_base_patch16_siglip_512": _variant(_BASE, 16, 512, **_MAP),
    "vit_base_patch16_siglip_gap_224": _variant(_BASE, 16, 224, **_GAP),
    "vit_base_patch16_siglip_gap_256": _variant(_BASE, 16, 256, **_GAP),
    "vit_base_patch16_siglip_gap_384": _variant(_BASE, 16, 384, **_GAP),
    "vit_base_patch16_siglip_gap_512": _variant(_BASE, 16, 512, **_GAP),
    "vit_large_patch16_siglip_256": _variant(_LARGE, 16, 256, **_MAP),
    "vit_large_patch16_siglip_384": _variant(_LARGE, 16, 384, **_MAP),
    "vit_large_patch16_siglip_512": _variant(_LARGE, 16, 512, **_MAP, **_TANH),
    "vit_large_patch16_siglip_gap_256": _variant(_LARGE, 16, 256, **_GAP),
    "vit_large_patch16_siglip_gap_384": _variant(_LARGE, 16, 384, **_GAP),
    "vit_large_patch16_siglip_gap_512": _variant(_LARGE, 16, 512, **_GAP, **_TANH),
    "vit_so400m_patch14_siglip_224": _variant(_SO400M, 14, 224, **_MAP),
    "vit_so400m_patch14_siglip_378": _variant(_SO400M, 14, 378, **_MAP),
    "vit_so400m_patch14_siglip_384": _variant(_SO400M, 14, 384, **_MAP),
    "vit_so400m_patch14_siglip_gap_224": _variant(_SO400M, 14, 224, **_GAP),
    "vit_so400m_patch14_siglip_gap_378": _variant(_SO400M, 14, 378, **_GAP),
    "vit_so400m_patch14_siglip_gap_384": _variant(_SO400M, 14, 384, **_GAP),
    "vit_so400m_patch14_siglip_gap_448": _variant(_SO400M, 14, 448, **_GAP),
    "vit_so400m_patch14_siglip_gap_896": _variant(_SO400M, 14, 896, **_GAP),
    "vit_so400m_patch16_siglip_256": _variant(_SO400M, 16, 256, **_MAP, **_TANH),
    "vit_so400m_patch16_siglip_384": _variant(_SO400M, 16, 384, **_MAP, **_TANH),
    "vit_so400m_patch16_siglip_512": _variant(_SO400M, 16, 512, **_MAP, **_TANH),
    "vit_so400m_patch16_siglip_gap_256": _variant(_SO400M, 16, 256, **_GAP, **_TANH),
    "vit_so400m_patch16_siglip_gap_384": _variant(_SO400M, 16, 384, **_GAP, **_TANH),
    "vit_so400m_patch16_siglip_gap_512": _variant(_SO400M, 16, 512, **_GAP, **_TANH),
    "vit_giantopt_patch16_siglip_256": _variant(_GIANT_OPT, 16, 256, **_MAP, **_TANH),
    "vit_giantopt_patch16_siglip_384": _variant(_GIANT_OPT, 16, 384, **_MAP, **_TANH),
    "vit_giantopt_patch16_siglip_gap_256": _variant(_GIANT_OPT, 16, 256, **_GAP, **_TANH),
    "vit_giantopt_patch16_siglip_gap_384": _variant(_GIANT_OPT, 16, 384, **_GAP, **_TANH),
    # C-RADIO v3 and v4.
    "vit_base_patch16_radio_v3": _variant(_BASE, 16, 512, **{**_RADIO_V3, **_ALIGNED}, init_values=1e-5),
    "vit_large_patch16_radio_v3": _variant(_LARGE, 16, 512, **_RADIO_V3, init_values=1e-5),
    "vit_huge_patch16_radio_v3": _variant(_HUGE, 16, 512, **{**_RADIO_V3, **_ALIGNED}),
    "vit_giant_patch16_radio_v3": _variant(_GIANT_40, 16, 512, **_RADIO_V3),
    "vit_so400m_patch16_radio_v4": _variant(_SO400M, 16, 512, **_RADIO_V4),
    "vit_huge_patch16_radio_v4": _variant(_HUGE, 16, 512, **_RADIO_V4),
    # BEiT-3.
    "beit3_base_patch16_224": _variant(_BASE, 16, 224, **_BEIT3),
    "beit3_large_patch16_224": _variant(_LARGE, 16, 224, **_BEIT3),
    "beit3_giant_patch14_224": _variant(_GIANT, 14, 224, **_BEIT3),
    "beit3_giant_patch14_336": _variant(_GIANT, 14, 336, **_BEIT3),
    # AIMv2.
    "aimv2_large_patch14_224": _variant(_AIMV2_LARGE, 14, 224, **_AIMV2),
    "aimv2_large_patch14_336": _variant(_AIMV2_LARGE, 14, 336, **_AIMV2),
    "aimv2_large_patch14_448": _variant(_AIMV2_LARGE, 14, 448, **_AIMV2),
    "aimv2_huge_patch14_224": _variant(_AIMV2_HUGE, 14, 224, **_AIMV2),
    "aimv2_huge_patch14_336": _variant(_AIMV2_HUGE, 14, 336, **_AIMV2),
    "aimv2_huge_patch14_448": _variant(_AIMV2_HUGE, 14, 448, **_AIMV2),
    "aimv2_1b_patch14_224": _variant(_AIMV2_1B, 14, 224, **_AIMV2),
    "aimv2_1b_patch14_336": _variant(_AIMV2_1B, 14, 336, **_AIMV2),
    "aimv2_1b_patch14_448": _variant(_AIMV2_1B, 14, 448, **_AIMV2),
    "aimv2_3b_patch14_224": _variant(_AIMV2_3B, 14, 224, **_AIMV2),
    "aimv2_3b_patch14_336": _variant(_AIMV2_3B, 14, 336, **_AIMV2),
    "aimv2_3b_patch14_448": _variant(_AIMV2_3B, 14, 448, **_AIMV2),
    # timm's test models.
    "test_vit": _variant(_TEST, 16, 160, dynamic_img_size=True),
    "test_vit2": _variant(_TEST, 16, 160, **_TEST_REG1, depth=8, global_pool="avg", dynamic_img_size=True),
    "test_vit3": _variant(
        _TEST_WIDE, 16, 160, **_TEST_REG1, mlp_ratio=2.0, global_pool="map", pool_include_prefix=True
    ),
    "test_vit4": _variant(_TEST_WIDE, 16, 160, **_TEST_REG1, global_pool="avg", norm="rmsnorm", dynamic_img_size=True),
}

FAMILY = Family("vit", VARIANTS, VisionTransformer)
