"""From a name to a model: ``architecture`` or ``architecture.tag``, both as timm has them."""

import dataclasses
import importlib
import itertools
import os
import pkgutil
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import cache
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxvision import catalogue, models
from jaxvision.catalogue import ModelInfo
from jaxvision.models import feature_net
from jaxvision.models.family import Family, pair
from jaxvision.models.image_model import ImageModel
from jaxvision.paths import named_variables, suggestion
from jaxvision.weights import load_weights, resolve


class ModelNameError(ValueError):
    """A name that is no model's here, or no weights'."""


class FormerNameWarning(FutureWarning):
    """A name that timm had for a model before, and now has another for."""


@cache
def families() -> Mapping[str, Family]:
    """The family of every architecture: each module of `jaxvision.models` that exports ``FAMILY`` is one."""
    found: dict[str, Family] = {}
    for module in pkgutil.iter_modules(models.__path__, f"{models.__name__}."):
        family = getattr(importlib.import_module(module.name), "FAMILY", None)
        if family is not None:
            found |= dict.fromkeys(family.variants, family)
    return MappingProxyType(found)


def list_models(
    pattern: str | Sequence[str] = "*", pretrained: bool = False, *, exclude_filters: str | Sequence[str] = ()
) -> list[str]:
    """Names of models, in natural order (``resnet18`` before ``resnet101``).

    Args:
        pattern: a glob, such as ``"vit_*"``, or several; an empty one stands for all. With a dot in it
            (``"resnet50.*"``) it selects weights instead of architectures.
        pretrained: names of weights (``architecture.tag``) even where the pattern has no dot. As in timm, such a
            pattern may then match the architecture or the whole name: ``"*in21k*"`` is one of tags.
        exclude_filters: globs of names to leave out, which match as those of ``pattern`` do.

    Returns:
        The names that match any pattern; an empty list where there is none.
    """
    names = {name for glob in _globs(pattern) or ["*"] for name in _matching(glob, pretrained)}
    for glob in _globs(exclude_filters):
        names = {name for name in names if not _is_called(name, glob)}
    return sorted(names, key=_natural)


def _globs(given: str | Sequence[str]) -> Sequence[str]:
    return ([given] if given else []) if isinstance(given, str) else given


def _matching(glob: str, pretrained: bool) -> list[str]:
    """The architectures that match a glob, or the weights if it has a dot or they are asked for."""
    if pretrained or "." in glob:
        names = [info.name for info in catalogue.entries().values() if info.pretrained]
    else:
        names = list(families())
    return [name for name in names if _is_called(name, glob)]


def _is_called(name: str, glob: str) -> bool:
    return fnmatchcase(name, glob) or ("." not in glob and fnmatchcase(name, f"{glob}.*"))


def model_info(name: str) -> ModelInfo:
    """Facts about a model: exact counts, preprocessing, licence, where its weights are.

    Args:
        name: ``architecture.tag``; or ``architecture`` for its default weights. Those are the first that timm lists
            and whose licence allows commercial use. timm's repositories on the Hugging Face hub
            (``"hf-hub:timm/resnet50.a1_in1k"``) and the names that timm had before (``"vit_base_patch16_224_dino"``)
            stand for what they are called now.

    Raises:
        ModelNameError: there is no such model; the nearest names are listed.

    Warns:
        FormerNameWarning: timm has another name for it now.
    """
    name = _current(name)
    architecture, _, tag = name.partition(".")
    if architecture not in families():
        raise ModelNameError(f"unknown model {architecture!r}{suggestion(architecture, families())}")
    rows = catalogue.by_architecture()[architecture]
    if tag:
        for info in rows:
            if info.name == name:
                return info
        tags = [info.tag for info in rows if info.tag]
        known = f"its tags are {', '.join(tags)}" if tags else "it has no published weights"
        near = suggestion(tag, tags)
        raise ModelNameError(f"{architecture!r} has no weights tagged {tag!r}{near or ';'} {known}")
    for info in rows:
        if not info.non_commercial:
            return info
    return dataclasses.replace(rows[0], name=architecture, tag=None, license="", hub_id=None, url=None)


def _current(name: str) -> str:
    """Today's name in timm for one of its repositories on the hub, or for one that it had before."""
    place = name.removeprefix("hf-hub:").removeprefix("hf_hub:")
    if place.startswith("timm/"):
        name = place.removeprefix("timm/")
    elif "/" in name or ":" in name:
        local = name.removeprefix("local-dir:")
        source = local if local != name or name.startswith((".", "/", "~")) else f"hf-hub:{place}"
        raise ModelNameError(
            f"{name!r} names weights, and not the architecture that they are for: "
            f"create_model('<architecture>', pretrained={source!r})"
        )
    if name not in catalogue.deprecated():
        return name
    current = catalogue.deprecated()[name]
    warnings.warn(f"{name!r} is timm's former name of {current!r}", FormerNameWarning, stacklevel=3)
    return current


def create_model(
    name: str,
    pretrained: bool | str | os.PathLike[str] = False,
    *,
    num_classes: int | None = None,
    in_chans: int | None = None,
    img_size: int | tuple[int, int] | None = None,
    features_only: bool = False,
    out_indices: int | Sequence[int] | None = None,
    dtype: jax.typing.DTypeLike | None = None,
    param_dtype: jax.typing.DTypeLike = jnp.float32,
    seed: int = 0,
    **overrides: Any,
) -> ImageModel:
    """Builds a model by name, with published weights, with weights of one's own, or with random ones.

    Weights are fitted to the model asked for: another number of input channels, another image size, and for another
    number of classes a new head drawn from ``seed``, which is then the only part that is not pretrained; where the
    weights are one's own, a warning says so. What became of them goes to the log ``jaxvision`` at level ``INFO``.

    Args:
        name: ``architecture`` or ``architecture.tag``; see `model_info` for others.
        pretrained: True loads the weights that the name stands for; a path, or a repository of the Hugging Face hub
            such as ``"hf-hub:timm/resnet50.a1_in1k"``, loads those.
        num_classes: outputs of the classifier, 0 for none; None for as many as the weights called ``name`` have. If
            given, the head is new where the weights have none, or a whole one for another number of classes.
        in_chans: channels of the pictures; None for 3.
        img_size: side or (height, width); None for that of the weights. Convolutional families take any size anyway.
        features_only: a model whose call gives feature maps instead of logits (`jaxvision.models.feature_net`): of the
            stem and stages of a convolutional network, the stages of a Swin, the blocks of a ViT. It has no classifier,
            nor anything else that the maps do not need, whatever the weights hold.
        out_indices: which of the maps: positions in ``feature_info``, or a number for so many of the last; None for
            all, and of a ViT the last three.
        dtype: of the computation, such as ``jnp.bfloat16``; None for that of the parameters.
        param_dtype: of the parameters.
        seed: for all that is drawn at random; the same seed gives the same model.
        **overrides: other fields of the family's config, such as ``drop_path_rate=0.1`` or ``global_pool="avg"``.

    Raises:
        ModelNameError: there is no such model, or no weights for it; the nearest names are listed.
        TypeError: the family's config has no such field.
        ValueError: a value that the model cannot have.
        jaxvision.weights.WeightsError: the weights cannot be had or do not fit.

    Warns:
        jaxvision.weights.WeightsWarning: of one's own weights the head is not used; or their own library would give
            other digits than this model.
    """
    info = model_info(_current(name))
    family = families()[info.architecture]
    if features_only and num_classes:
        raise ValueError(f"a model of features has no classifier: leave out num_classes={num_classes}")
    if out_indices is not None and not features_only:
        raise ValueError("out_indices chooses among feature maps: it needs features_only=True")
    config = _configure(
        family.variants[info.architecture],
        info,
        num_classes=0 if features_only else info.num_classes if num_classes is None else num_classes,
        in_chans=in_chans,
        img_size=img_size,
        **overrides,
    )

    def build() -> ImageModel:
        return family.build(config, rngs=_Keys(seed), dtype=dtype, param_dtype=param_dtype)

    if pretrained is False:
        model = build()
    elif pretrained is True and not info.pretrained:
        raise ModelNameError(_no_default(info.architecture))
    else:
        model = nnx.eval_shape(build)  # nothing is allocated that the weights will fill
        if pretrained is True:
            file = resolve(True, name=info.name, hub_id=info.hub_id, url=info.url)
            reset_head, size = config.num_classes != info.num_classes, (info.input_size[1], info.input_size[2])
            report = load_weights(model, file, reset_head=reset_head, img_size=size)
        else:
            report = load_weights(model, pretrained, reset_head=num_classes is not None)
        report.tell(new_heads=pretrained is not True)
        _draw(model, build, report.empty)
    return feature_net.features_only(model, out_indices) if features_only else model


def _draw(model: ImageModel, build: Callable[[], ImageModel], paths: Sequence[str]) -> None:
    """Gives the variables at some paths, a new head's, the values that they have in a fresh model."""
    if not paths:
        return
    variables = named_variables(model)

    @jax.jit  # the compiler drops whatever is not returned
    def draw() -> dict[str, jax.Array]:
        fresh = named_variables(build())
        return {path: fresh[path].get_value() for path in paths}

    for path, value in draw().items():
        variables[path].set_value(value)


def _no_default(architecture: str) -> str:
    """Why an architecture by itself stands for no weights."""
    named = [info for info in catalogue.by_architecture()[architecture] if info.pretrained]
    if not named:
        return f"{architecture!r} has no published weights: give a file of your own, pretrained='path'"
    names = ", ".join(f"{info.name!r} ({info.license})" for info in named)
    return f"{architecture!r} has no weights for commercial use, and none is loaded by default: name one of {names}"


class _Keys:
    """The keys of ``nnx.Rngs(seed)``, counted in Python.

    While a model is built abstractly, a counter of NNX is traced, and every step of it takes time in proportion to
    all that was traced before: 15 s instead of 1 s for the 420 layers of a ResNet-RS.
    """

    def __init__(self, seed: int):
        self._key = jax.random.key(seed)
        self._count = itertools.count()

    def params(self) -> jax.Array:
        """The next key."""
        return jax.random.fold_in(self._key, next(self._count))


def _configure(config: Any, info: ModelInfo, *, img_size: int | tuple[int, int] | None, **changes: Any) -> Any:
    """The architecture's config with everything that is not None changed."""
    fields = [field.name for field in dataclasses.fields(config)]
    for field in changes:
        if field not in fields:
            raise TypeError(
                f"{info.architecture!r} has no setting {field!r}{suggestion(field, fields) or ';'} "
                f"there are {', '.join(fields)}"
            )
    for field, least in (("num_classes", 0), ("in_chans", 1)):
        if changes[field] is not None and changes[field] < least:
            raise ValueError(f"{field} must be at least {least}, got {changes[field]}")
    size = info.input_size[1:] if img_size is None else pair(img_size)
    if min(size) < 1:
        raise ValueError(f"img_size must be at least one pixel, got {img_size}")
    if "img_size" in fields:  # the others take any size as they are
        changes["img_size"] = size
    return dataclasses.replace(config, **{field: value for field, value in changes.items() if value is not None})


def _natural(name: str) -> list[int | str]:
    """A sorting key that orders the numbers in names by value."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]
