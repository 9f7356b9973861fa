"""Writes a model's weights into a file that timm, or jaxvision, loads."""

import dataclasses
import json
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import ml_dtypes  # noqa: F401  (registers "bfloat16" with NumPy, by which safetensors finds it)
import numpy as np
from flax import nnx
from safetensors.numpy import save_file

from jaxvision.paths import named_variables, suggestion
from jaxvision.version import __version__
from jaxvision.weights.errors import WeightsError
from jaxvision.weights.layout import to_timm

FORMATS = ("timm", "jaxvision")
"""Namings that can be written."""

_SUFFIX = ".safetensors"


def save_weights(
    model: nnx.Module,
    path: str | os.PathLike[str],
    *,
    format: str = "timm",
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Writes a model's parameters and BatchNorm statistics into a safetensors file.

    With timm's names and layouts, timm's model of the same name takes it with ``load_state_dict(..., strict=True)``; so
    does torchvision's ResNet, which has the same names. Types stay, bfloat16 too. The file appears whole or not at all,
    in place of one that was there. Its metadata has the model's config as JSON, if it has one.

    Args:
        model: any model whose variables have timm's names; ours do.
        path: of the file, which ends in ``.safetensors``. Folders on the way are made.
        format: ``"timm"``, or ``"jaxvision"`` for our own names and Flax's layouts; `load_weights` reads both.
        metadata: more for the file's metadata, such as ``{"architecture": "resnet50"}``.

    Raises:
        WeightsError: the format is unknown, the model is abstract, or the path has another suffix.
        OSError: the file cannot be written.
    """
    if format not in FORMATS:
        known = " and ".join(map(repr, FORMATS))
        raise WeightsError(f"cannot write the format {format!r}{suggestion(format, FORMATS) or ';'} there are {known}")
    path = Path(path)
    if path.suffix != _SUFFIX:
        raise WeightsError(f"weights are written as safetensors: expected a path that ends in {_SUFFIX!r}, got {path}")
    variables = {n: v for n, v in named_variables(model).items() if isinstance(v, nnx.Param | nnx.BatchStat)}
    values = {name: variable.get_value() for name, variable in variables.items()}
    if abstract := [name for name, value in values.items() if isinstance(value, jax.ShapeDtypeStruct)]:
        raise WeightsError(
            f"the model is abstract, it has no values to save: {abstract[0]!r} and so on; load some first"
        )
    arrays = {name: np.asarray(value) for name, value in values.items()}
    if format == "timm":
        arrays = to_timm(arrays)
    described = {"format": "pt"} if format == "timm" else {}  # what Hugging Face's libraries ask for
    described |= {"naming": format, "jaxvision": __version__, **_config(model), **(metadata or {})}
    _write({name: np.asarray(array, order="C") for name, array in arrays.items()}, path, described)


def _config(model: nnx.Module) -> dict[str, str]:
    config: Any = getattr(model, "config", None)
    if not dataclasses.is_dataclass(config) or isinstance(config, type):
        return {}
    return {"config": json.dumps({"class": type(config).__name__, **dataclasses.asdict(config)}, default=str)}


def _write(arrays: dict[str, np.ndarray], path: Path, metadata: dict[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        save_file(arrays, part, metadata)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
