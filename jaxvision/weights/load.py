"""Fills a model's variables from weights, strictly."""

import os
import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxvision.paths import named_variables, select
from jaxvision.weights.adapt import adapt_input_channels
from jaxvision.weights.entry import Entry
from jaxvision.weights.errors import WeightsError, WeightsMismatchError, WeightsWarning
from jaxvision.weights.formats import read_contents
from jaxvision.weights.heads import OtherHead, other_heads
from jaxvision.weights.hub import WeightsFile, resolve
from jaxvision.weights.layout import BUFFERS, timm_name, timm_shape, to_flax
from jaxvision.weights.report import LoadReport, Misfit
from jaxvision.weights.sources import find_source

_PREFIXES = ("module.", "_orig_mod.")  # of torch's DistributedDataParallel and torch.compile


def load_weights(
    model: nnx.Module,
    source: str | os.PathLike[str] | Mapping[str, Any],
    *,
    format: str | None = None,
    strict: bool = True,
    skip: Sequence[str] = (),
    reset_head: bool = False,
    img_size: tuple[int, int] | None = None,
) -> LoadReport:
    """Fills a model's parameters and BatchNorm statistics, in place. On an error nothing is changed.

    What the model can do with weights for another size happens first: ``model.adapt_weights`` (position embeddings and
    the like for another image size), then the first convolution for another number of input channels
    (`jaxvision.weights.adapt_input_channels`). The report tells.

    Args:
        model: any model whose variables have timm's names; ours do. It may be abstract (built under `nnx.eval_shape`).
        source: a file or folder, what `resolve` returns or takes, or arrays by name.
        format: the naming, one of `jaxvision.weights.SOURCES` such as ``"timm"``; None recognises it by the names.
        strict: raise if anything is missing, unused or misshapen. Otherwise what fits is loaded and the report has the
            rest.
        skip: globs of variables (`jaxvision.paths`) that stay as they are, such as ``["head.*"]``; the file's entries
            for them are dropped, if there are any.
        reset_head: let the classifier (``model.classifiers``) stay as it is if the file has none, or a whole one for
            another number of classes, or a linear one where the model's has hidden layers (`models.head.MlpHead`). One
            that is neither whole nor right fails as anything else does. A classifier in the file is dropped in any case
            if the model has none.
        img_size: height and width of the images that the weights are for; None to tell it from their shapes. It matters
            where position embeddings for another shape of image are as many as the model's.

    Returns:
        What became of every variable and of every entry.

    Raises:
        WeightsMismatchError: with ``strict``; the message names all that does not fit, with shapes and nearest names.
        WeightsError: the file cannot be read; its naming is not recognised; or the weights would fit and be wrong.
        WeightsUnavailableError: the weights cannot be had.
        jaxvision.paths.PatternError: a glob in ``skip`` matches no variable.
    """
    opened = _open(source)
    try:
        naming = find_source(format or opened.format, opened.weights)
    except WeightsError as error:
        raise WeightsError(f"{opened.origin}: {error}") from None
    config = getattr(model, "config", None)
    if objection := naming.objection(config, opened.weights):
        if strict:
            raise WeightsError(f"{opened.origin}: {objection}")
        warnings.warn(f"{opened.origin}: {objection}", WeightsWarning, stacklevel=2)

    variables = {n: v for n, v in named_variables(model).items() if isinstance(v, nnx.Param | nnx.BatchStat)}
    shapes = {name: tuple(variable.get_value().shape) for name, variable in variables.items()}
    named = list(naming.to_timm(opened.weights, variables))
    given = to_flax(((name, entry) for name, entry in named if name is not None), shapes)
    entries, adapted, failure = _adapt(model, given, shapes, {"img_size": img_size, "fit": naming.fit})
    nameless = [entry.key for name, entry in named if name is None]
    fits = {name: _misfit(name, entries[name], variables[name].get_value()) for name in variables if name in entries}

    kept = set(select(skip, variables, what="variable")) if skip else set()
    others = other_heads(model, shapes, {name: entry.array.shape for name, entry in entries.items()})
    new = others if reset_head else {}
    kept |= {name for name in variables if _is_below(name, new)}
    headless = [*_absent(model, variables), *new]
    dropped = {
        name
        for name in entries
        if name in kept or (name not in variables and (_leaf(name) in BUFFERS or _is_below(name, headless)))
    }
    aside = [key for key in nameless if naming.leaves_aside(key) or _leaf(key) in BUFFERS]
    loaded = [name for name, misfit in fits.items() if misfit is None and name not in kept]
    filled = set(loaded)
    remark = naming.remark(config, opened.weights)
    report = LoadReport(
        origin=opened.origin,
        format=naming.name,
        loaded=tuple(loaded),
        missing=tuple(timm_name(name) for name in variables if name not in entries and name not in kept),
        unused=(
            *(entry.key for name, entry in entries.items() if name not in variables and name not in dropped),
            *(key for key in nameless if key not in aside),
        ),
        misshapen=tuple(misfit for name, misfit in fits.items() if misfit is not None and name not in kept),
        adapted=tuple(change for name, change in adapted.items() if name not in dropped),
        dropped=(*(entry.key for name, entry in entries.items() if name in dropped), *aside),
        reinitialised=tuple(name for name in variables if name in kept),
        empty=tuple(name for name in variables if name not in filled and _is_abstract(variables[name])),
        notes=opened.notes if failure is None else (*opened.notes, failure),
        remarks=() if remark is None else (remark,),
        new_heads=tuple(f"the classifier {path!r} is new: {new[path].description}" for path in new),
    )
    if strict and not report.complete:
        raise _mismatch(model, report, [] if reset_head else [*others.values()])
    if failure is not None and report.complete:
        raise WeightsError(f"the weights do not fit {type(model).__name__}: {failure}")
    for name in loaded:
        _fill(variables[name], entries[name].array)
    return report


class _Opened(NamedTuple):
    weights: Mapping[str, np.ndarray]
    origin: str
    notes: tuple[str, ...]
    format: str | None


def _open(source: str | os.PathLike[str] | Mapping[str, Any]) -> _Opened:
    if isinstance(source, Mapping):
        return _Opened(
            *_without_prefix({name: np.asarray(array) for name, array in source.items()}, "a dictionary", ()), None
        )
    file = source if isinstance(source, WeightsFile) else resolve(source)
    contents = read_contents(file.path)
    return _Opened(*_without_prefix(contents.weights, str(file.path), contents.notes), file.format)


def _without_prefix(
    weights: Mapping[str, np.ndarray], origin: str, notes: tuple[str, ...]
) -> tuple[Mapping[str, np.ndarray], str, tuple[str, ...]]:
    """Takes off what a wrapper put before every name."""
    for prefix in _PREFIXES:
        if weights and all(name.startswith(prefix) for name in weights):
            weights = {name.removeprefix(prefix): array for name, array in weights.items()}
            notes = (*notes, f"took {prefix!r} off every name")
    return weights, origin, notes


def _adapt(
    model: nnx.Module,
    entries: Mapping[str, Entry],
    shapes: Mapping[str, tuple[int, ...]],
    options: Mapping[str, Any],
) -> tuple[dict[str, Entry], dict[str, str], str | None]:
    """The entries fitted to the model's sizes, for each that was changed how, and why they could not be if so.

    Models that are not ours and define `ImageModel.adapt_weights` take its options.
    """
    arrays, failure = {name: entry.array for name, entry in entries.items()}, None
    if hasattr(model, "adapt_weights"):
        try:
            arrays = model.adapt_weights(arrays, **{k: option for k, option in options.items() if option is not None})
        except ValueError as error:
            failure = str(error)
    first = f"{getattr(model, 'input_conv', '')}.kernel"
    if first in arrays and first in shapes and arrays[first].shape[-2] != shapes[first][-2]:
        kernel = adapt_input_channels(arrays[first], shapes[first][-2])
        arrays[first] = arrays[first] if kernel is None else kernel
    moved = {id(entry.array): entry.key for entry in entries.values()}  # which the model has under another name
    keys = {
        name: entries[name].key if name in entries else moved.get(id(array), name) for name, array in arrays.items()
    }
    adapted = {
        name: f"{keys[name]}: {timm_shape(name, entries[name].array.shape)} to {timm_shape(name, array.shape)}"
        for name, array in arrays.items()
        if name in entries and array is not entries[name].array
    }
    adapted |= {name: f"{keys[name]}: as {timm_name(name)}" for name in arrays if name not in entries}
    fitted = {name: Entry(keys[name], array) for name, array in arrays.items()}
    return fitted, adapted, failure


def _misfit(name: str, entry: Entry, value: Any) -> Misfit | None:
    shape = tuple(value.shape)
    if entry.array.shape != shape:
        got, expected = (str(timm_shape(name, shape)) for shape in (entry.array.shape, shape))
        return Misfit(name, entry.key, got, expected)
    if not (jnp.issubdtype(entry.array.dtype, jnp.floating) or entry.array.dtype == value.dtype):
        return Misfit(name, entry.key, str(entry.array.dtype), str(value.dtype))
    return None


def _leaf(name: str) -> str:
    return name.rpartition(".")[2]


def _is_below(name: str, layers: Iterable[str]) -> bool:
    return any(name.startswith(f"{layer}.") for layer in layers)


def _is_abstract(variable: nnx.Variable) -> bool:
    return isinstance(variable.get_value(), jax.ShapeDtypeStruct)


def _absent(model: nnx.Module, variables: Collection[str]) -> list[str]:
    """Paths at which files have weights and this model, if it is one of ours, has none on purpose.

    A classifier (``num_classes=0``), or what was removed from a model of features.
    """
    paths = (*getattr(model, "heads", ()), *getattr(model, "left_out", ()))
    return [path for path in paths if not any(_is_below(name, [path]) for name in variables)]


def _mismatch(model: nnx.Module, report: LoadReport, others: Sequence[OtherHead]) -> WeightsMismatchError:
    lines = [f"the weights from {report.origin} ({report.format} names) do not fit {type(model).__name__}:"]
    lines.append(report.problems())
    wrong = (*report.missing, *(misfit.name for misfit in report.misshapen))
    only_classifiers = bool(wrong) and all(_is_below(name, getattr(model, "classifiers", ())) for name in wrong)
    if only_classifiers:
        lines.append(_remedy(others))
    lines += [f"note: {note}" for note in (*report.notes, *report.remarks)]
    classes = others[0].num_classes if only_classifiers and others else None
    return WeightsMismatchError("\n".join(lines), report, classes)


def _remedy(others: Sequence[OtherHead]) -> str:
    """What to do where nothing but the classifier does not fit."""
    if not others:
        return (
            "to leave the file's classifier aside build the model with num_classes=0; reset_classifier draws a new one"
        )
    description, classes = others[0]
    keep = "" if classes is None else f"build the model with num_classes={classes} to keep that; "
    return f"{description}: {keep}for a new one pass reset_head=True to load_weights, or num_classes to create_model"


def _fill(variable: nnx.Variable, array: np.ndarray) -> None:
    """Sets a variable to a copy of the array, of the variable's type and where the variable is or belongs."""
    old = variable.get_value()
    value = jax.device_put(array.astype(old.dtype))  # a copy already; `jnp.array` would compile one for every shape
    placed = old.sharding is not None if _is_abstract(variable) else getattr(old, "committed", False)
    variable.set_value(jax.device_put(value, old.sharding) if placed else value)
