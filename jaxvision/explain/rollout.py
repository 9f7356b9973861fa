"""Attention rollout (Abnar and Zuidema 2020, arXiv:2005.00928), for ViTs and for Swins.

Every block mixes its tokens as ``A = W + I``, attention and residual connection, with rows scaled to sum to 1; the
product over the blocks says how much of each patch is in each token at the end. In a Swin ``W`` is a block matrix over
windows, shifted or not, and merging averages four tokens.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxvision.explain.heat import finished
from jaxvision.interception import Hook, Site, intercept
from jaxvision.models.image_model import ImageModel
from jaxvision.models.swin import SwinTransformer
from jaxvision.models.vit import VisionTransformer
from jaxvision.nn.diff_attention import DiffHeads
from jaxvision.nn.patch import pad_to_multiple
from jaxvision.nn.pool import AttentionPoolLatent
from jaxvision.nn.window import Window, in_windows, partition
from jaxvision.paths import named_modules, suggestion

_FUSIONS: dict[str, Callable[..., Array]] = {"mean": jnp.mean, "max": jnp.max, "min": jnp.min}

Rows = Float[Array, "b tokens r"]
"""``r`` rows of the matrix from tokens at the end to tokens here, transposed: how much of each token is in them."""


def attention_rollout(
    model: ImageModel,
    images: Float[Array, "b h w c"],
    *,
    head_fusion: str = "mean",
    discard_ratio: float = 0.0,
    upsample: bool = False,
    normalize: bool = False,
) -> Float[Array, "b gh gw"]:
    """How much of each patch reaches what is classified; of no class in particular.

    What is classified is the class token, the mean of it and the distillation token in a distilled ViT, the mean of
    the tokens that the model pools (for maxima too, which take a little of each), or with attention pooling what the
    learnt query attends to. Only one row of the product is computed, from the last block back: its cost is that of
    the attention weights themselves.

    Args:
        model: a ViT or a Swin of either kind. Differential attention counts where its difference is positive.
        images: normalised images.
        head_fusion: ``"mean"``, ``"max"`` or ``"min"`` over the heads.
        discard_ratio: share of the smallest weights of each row that are set to 0, in every block.
        upsample: bilinearly to the size of the images.
        normalize: scale each map to [0, 1].

    Returns:
        One number a patch, float32. They sum to 1 in a Swin; in a ViT with what remains in the tokens before the
        patches, which are left out.

    Raises:
        ValueError: the model does not attend, or an argument is out of range.
    """
    rollout = _Rollout(model, images, head_fusion, discard_ratio)
    rows = rollout.back(rollout.pooled()[..., None])[..., 0]
    heat = rows[:, rollout.prefix :].reshape(-1, *rollout.grid)
    return finished(heat, (images.shape[1], images.shape[2]) if upsample else None, normalize)


def rollout_matrix(
    model: ImageModel, images: Float[Array, "b h w c"], *, head_fusion: str = "mean", discard_ratio: float = 0.0
) -> Float[Array, "b outputs inputs"]:
    """How much of each token that enters the blocks is in each token that leaves them; rows sum to 1.

    A ViT's tokens before the patches come first; the patches, and the tokens of a Swin's last map, are row by row.

    Args:
        model: see `attention_rollout`, as for all others.
        images: normalised images.
        head_fusion: how heads are made one.
        discard_ratio: share of each row's weights to drop.

    Raises:
        ValueError: see `attention_rollout`.
    """
    rollout = _Rollout(model, images, head_fusion, discard_ratio)
    start = jnp.broadcast_to(jnp.eye(rollout.outputs), (images.shape[0], rollout.outputs, rollout.outputs))
    return rollout.back(start).transpose(0, 2, 1)


class _Rollout:
    """The attention of one pass, and how it takes rows back through the blocks."""

    def __init__(self, model: ImageModel, images: Array, head_fusion: str, discard_ratio: float):
        if not isinstance(model, VisionTransformer | SwinTransformer):
            raise ValueError(
                f"{type(model).__name__} has no attention to roll out: explain it by Grad-CAM "
                "(jaxvision.explain.grad_cam, --method grad-cam)"
            )
        if head_fusion not in _FUSIONS:
            raise ValueError(
                f"unknown head_fusion {head_fusion!r}{suggestion(head_fusion, _FUSIONS)}; there are {tuple(_FUSIONS)}"
            )
        if not 0 <= discard_ratio < 1:
            raise ValueError(f"discard_ratio is a share from 0 to below 1, got {discard_ratio}")
        self.model = model
        self._fuse, self._discard_ratio = _FUSIONS[head_fusion], discard_ratio
        self._weights, self._query_weights = _attention_of(model, images)
        height, width = jax.eval_shape(model.patch_embed, images).shape[1:3]
        self.grid = (height, width)
        self.batch = images.shape[0]
        if isinstance(model, VisionTransformer):
            self.prefix = model.config.num_prefix_tokens
            self.outputs = self.prefix + height * width
        else:
            self.prefix = 0
            self.outputs = math.prod(self._map_size(len(model.layers) - 1))

    def pooled(self) -> Float[Array, "b tokens"]:
        """How much of each token at the end is in what is classified."""
        tokens, prefix = self.outputs, self.prefix
        if not isinstance(self.model, VisionTransformer):
            return jnp.full((self.batch, tokens), 1 / tokens)
        c = self.model.config
        if self._query_weights is not None:
            weights = self._one_map(self._query_weights)[:, 0]
            return jnp.pad(weights / weights.sum(-1, keepdims=True), ((0, 0), (tokens - weights.shape[1], 0)))
        if c.global_pool == "token" or (c.global_pool == "prr" and c.class_token):
            read = jnp.arange(tokens) < 1 + int(c.distilled)
        else:
            read = jnp.arange(tokens) >= (0 if c.pool_include_prefix else prefix)
        return jnp.broadcast_to(read / read.sum(), (self.batch, tokens))

    def back(self, rows: Rows) -> Rows:
        """Takes rows from the end of the blocks to their beginning."""
        if isinstance(self.model, VisionTransformer):
            for path in reversed([path for stage in self.model.block_paths for path in stage]):
                rows = _mixed(self._one_map(self._weights[path]), rows)
            return rows
        for stage in reversed(range(len(self.model.layers))):
            size = self._map_size(stage)
            x = rows.reshape(self.batch, *size, -1)
            blocks: Any = self.model.layers[stage].blocks
            for index in reversed(range(len(blocks))):
                weights = self._one_map(self._weights[f"layers.{stage}.blocks.{index}"])
                x = _mixed_windows(weights, x, blocks[index].window, blocks[index].shift)
            if stage:
                x = _unmerged(x, self._map_size(stage - 1))
            rows = x.reshape(self.batch, -1, rows.shape[-1])
        return rows

    def _map_size(self, stage: int) -> tuple[int, int]:
        return -(-self.grid[0] // 2**stage), -(-self.grid[1] // 2**stage)

    def _one_map(self, weights: Float[Array, "*b heads q k"]) -> Float[Array, "*b q k"]:
        """The heads fused, and of each row the smallest weights dropped."""
        fused = self._fuse(weights, axis=-3)
        count = int(self._discard_ratio * fused.shape[-1])
        if not count:
            return fused
        rank = jnp.argsort(jnp.argsort(fused, axis=-1), axis=-1)
        return jnp.where(rank >= count, fused, 0)


def _attention_of(model: ImageModel, images: Array) -> tuple[dict[str, Array], Array | None]:
    """The attention weights of every block by its path, all heads (of all attentions of a block), and the pooling's."""
    weights: dict[str, list[Array]] = {path: [] for stage in model.block_paths for path in stage}
    pooling: list[Array] = []
    modules = named_modules(model)
    block_of = {
        f"{path}.{inner}": path
        for path in weights
        for inner in named_modules(modules[path])
        if inner.rpartition(".")[2] == "attn_drop"
    }

    def keep(site: Site, call: Hook, x: Array, *args: Any, **kwargs: Any) -> Any:
        heads = modules[site.path.rpartition(".")[0]]
        maps = jax.nn.relu(heads.difference(x)) if isinstance(heads, DiffHeads) else x
        weights[block_of[site.path]].append(maps.astype(jnp.float32))
        return call(x, *args, **kwargs)

    def keep_pooling(site: Site, call: Hook, x: Array, *args: Any, **kwargs: Any) -> Any:
        if isinstance(site.instance, AttentionPoolLatent):
            pooling.append(site.instance.weights(x))
        return call(x, *args, **kwargs)

    keep.keeps_values = keep.unfuses = True  # type: ignore[attr-defined]
    hooks: dict[str, Hook] = dict.fromkeys(block_of, keep)
    if isinstance(getattr(model, "attn_pool", None), nnx.Module):
        hooks["attn_pool"] = keep_pooling
    view = intercept(model, hooks)
    view.forward_head(view.forward_features(images))
    return {path: jnp.concatenate(found, axis=-3) for path, found in weights.items()}, pooling[0] if pooling else None


def _mixed(weights: Float[Array, "*b q k"], rows: Float[Array, "*b q r"]) -> Float[Array, "*b k r"]:
    """Rows before a block from those after it: times ``W + I`` with its rows scaled to sum to 1."""
    scaled = rows / (1 + weights.sum(axis=-1))[..., None]
    return scaled + jnp.einsum("...qk,...qr->...kr", weights, scaled)


def _mixed_windows(
    weights: Float[Array, "b windows q k"], rows: Float[Array, "b h w r"], window: Window, shift: Window
) -> Float[Array, "b h w r"]:
    """The same where attention is within windows; what goes to padding counts for nothing."""
    ones = jnp.ones((1, *rows.shape[1:3], 1))
    real = partition(pad_to_multiple(ones, window), window)[..., 0]
    return in_windows(rows, window, shift, lambda x: _mixed(weights * real[:, :, None, :], x))


def _unmerged(rows: Float[Array, "b h w r"], size: tuple[int, int]) -> Float[Array, "b H W r"]:
    """Rows before a merging, which is the mean of 2x2 tokens, or of those that there are at the edge of an odd map."""
    height, width = size
    for axis, side in ((1, height), (2, width)):
        doubled = jnp.repeat(rows, 2, axis=axis)
        alone = jnp.arange(doubled.shape[axis]) == side - 1 if side % 2 else jnp.zeros(doubled.shape[axis], bool)
        share = jnp.where(alone, 1.0, 0.5).reshape([-1 if a == axis else 1 for a in range(4)])
        rows = jax.lax.slice_in_dim(doubled * share, 0, side, axis=axis)
    return rows
