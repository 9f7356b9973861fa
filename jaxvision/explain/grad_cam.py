"""Grad-CAM (Selvaraju et al. 2017, arXiv:1610.02391)."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from jaxvision.explain.heat import finished, resized, unit_range
from jaxvision.interception import Hook, Site, intercept
from jaxvision.models.image_model import ImageModel
from jaxvision.models.swin import WindowHeads
from jaxvision.models.vit import VisionTransformer
from jaxvision.nn.parallel_scaling import ParallelScalingBlock
from jaxvision.nn.transformer import Block, ParallelThingsBlock
from jaxvision.paths import named_modules, select

# Where the last block's attention reads all tokens; a block that norms after its branches reads the block before it.
_READS = ((Block, "norm1"), (ParallelThingsBlock, "attns.*.norm"), (ParallelScalingBlock, "in_norm"))


def grad_cam(
    model: nnx.Module,
    images: Float[Array, "b h w c"],
    target: int | Int[Array, " b"] | None = None,
    layer: str | Sequence[str] | None = None,
    *,
    upsample: bool = False,
    normalize: bool = False,
) -> Float[Array, "b gh gw"]:
    r"""Where the evidence for a class is: ``relu(sum_k a_k A^k)``, with ``a_k`` the mean over the map of ``dy / dA^k``.

    ``A`` is what a layer gives and ``y`` the class's logit (eq. 1 and 2). Of a layer that gives tokens, those of the
    patches make the map; class, distillation and register tokens are left out. A distilled ViT's logits are the mean
    of its two heads, as in its predictions.

    Args:
        model: a classifier; its pass is deterministic.
        images: normalised images.
        target: index of the class, for all images or for each; None for the class that the model names. A model of one
            logit has the classes 0 (its negative) and 1.
        layer: path or pattern of the layer or layers. Default: the last stage; the last block of a ViT that pools its
            patches, and of one that reads a class token what the last block's attention reads (its ``norm1``), since
            nothing that comes after reaches the logits from a patch.
        upsample: bilinearly to the size of the images.
        normalize: scale each map to [0, 1].

    Returns:
        At the layer's resolution unless upsampled, float32, 0 or more, in units of the logit unless normalised. Of
        several layers the mean of their maps, each scaled to [0, 1] and all of the largest one's size.

    Raises:
        PatternError: no layer matches.
        ValueError: the model is no classifier, there is no such class, or a layer gives no map.
    """
    paths = _layers(model, layer)
    taken: dict[str, Array] = {}

    def score(offsets: Mapping[str, Array]) -> tuple[Array, tuple[Array, dict[str, Array]]]:
        taken.clear()
        logits = intercept(model, dict.fromkeys(paths, _adding(offsets, taken)))(images)
        return _of_class(model, logits, target).sum(), (logits, dict(taken))

    _, (_, shapes) = jax.eval_shape(score, {})
    offsets = {path: jnp.zeros(shape.shape, shape.dtype) for path, shape in shapes.items()}
    gradients, (_, outputs) = jax.grad(score, has_aux=True)(offsets)
    taken.clear()
    maps = [_cam(*(_as_map(model, path, x[path], images) for x in (outputs, gradients))) for path in outputs]
    if not maps:
        raise ValueError(f"not run by this pass: {', '.join(paths)}; name a layer on the way to the logits")
    heat = maps[0]
    if len(maps) > 1:
        largest = max((x.shape[1], x.shape[2]) for x in maps)
        heat = jnp.mean(jnp.stack([resized(unit_range(x), largest) for x in maps]), axis=0)
    return finished(heat, (images.shape[1], images.shape[2]) if upsample else None, normalize)


def _adding(offsets: Mapping[str, Array], taken: dict[str, Array]) -> Hook:
    """A hook that keeps what a layer gives, and adds an offset, by which the logits are then differentiated."""

    def hook(site: Site, call: Hook, *args: Any, **kwargs: Any) -> Any:
        output = taken[site.path] = call(*args, **kwargs)
        return output + offsets[site.path] if site.path in offsets else output

    hook.keeps_values = True  # type: ignore[attr-defined]
    return hook


def _cam(output: Float[Array, "b h w c"], gradient: Float[Array, "b h w c"]) -> Float[Array, "b h w"]:
    weights = jnp.mean(gradient.astype(jnp.float32), axis=(1, 2))
    return jax.nn.relu(jnp.einsum("bhwc,bc->bhw", output.astype(jnp.float32), weights))


def _of_class(model: nnx.Module, logits: Any, target: int | Int[Array, " b"] | None) -> Float[Array, " b"]:
    """Each image's logit of the class that is asked for."""
    if getattr(model, "num_classes", None) == 0 or getattr(logits, "ndim", 0) != 2:
        raise ValueError(f"{type(model).__name__} is no classifier here: Grad-CAM needs logits (batch, classes)")
    scores = jnp.concatenate([-logits, logits], axis=-1) if logits.shape[-1] == 1 else logits
    batch, classes = scores.shape
    chosen = jnp.argmax(scores, axis=-1) if target is None else jnp.asarray(target)
    if chosen.shape not in ((), (batch,)) or not jnp.issubdtype(chosen.dtype, jnp.integer):
        raise ValueError(f"target must be one class or one for each of {batch} images, got {target!r}")
    if target is not None and not isinstance(target, jax.core.Tracer):
        wrong = [int(index) for index in np.ravel(np.asarray(target)) if not 0 <= index < classes]
        if wrong:
            raise ValueError(f"there is no class {wrong[0]}: the model has {classes}, 0 to {classes - 1}")
    return jnp.take_along_axis(scores, jnp.broadcast_to(chosen, (batch,))[:, None], axis=1)[:, 0]


def _layers(model: nnx.Module, layer: str | Sequence[str] | None) -> list[str]:
    modules = {path: module for path, module in named_modules(model).items() if path and callable(module)}
    paths = select(_default_layer(model) if layer is None else layer, modules)
    for path in paths:
        ends = [index for index, letter in enumerate(path) if letter == "."] + [len(path)]
        if any(isinstance(modules.get(path[:end]), WindowHeads) for end in ends):
            raise ValueError(f"{path!r} gives windows, not a map: name the block around it")
    return paths


def _default_layer(model: nnx.Module) -> str:
    if not isinstance(model, ImageModel):
        raise ValueError(f"{type(model).__name__} is no model of this library: say which layer gives the map")
    last = model.feature_levels()[-1].module
    if not isinstance(model, VisionTransformer) or not _reads_a_token(model):
        return last
    block, count = model.blocks[-1], len(model.blocks)
    for kind, norm in _READS:
        if isinstance(block, kind):
            return f"{last}.{norm}"
    return f"blocks.{count - 2}" if count > 1 else "patch_embed"


def _reads_a_token(model: VisionTransformer) -> bool:
    """Whether the logits come from tokens before the patches alone."""
    return model.config.global_pool == "token"


def _as_map(
    model: nnx.Module, path: str, x: Float[Array, "b ..."], images: Float[Array, "b h w c"]
) -> Float[Array, "b gh gw c"]:
    """What a layer gives as a map: patch tokens are laid out as their patches are in the image."""
    if x.ndim == 4:
        return x
    if x.ndim == 3 and isinstance(model, VisionTransformer):
        height, width = jax.eval_shape(model.patch_embed, images).shape[1:3]
        prefix = model.config.num_prefix_tokens
        if x.shape[1] == prefix + height * width:
            return x[:, prefix:].reshape(x.shape[0], height, width, x.shape[-1])
    raise ValueError(f"{path!r} gives no map but {x.shape}: name a layer of (batch, height, width, channels) or tokens")
