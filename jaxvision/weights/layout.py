"""The generic rule: from timm's names and PyTorch's layouts to canonical names and Flax's layouts, and back.

A layer's ``weight`` is a ``kernel`` or a ``scale``, whichever the model has there. Kernels have the output axis first
in PyTorch and last here: OIHW to HWIO for convolutions, (out, in) to (in, out) for linear layers.
"""

from collections.abc import Collection, Iterable, Mapping

import numpy as np

from jaxvision.weights.entry import Entry
from jaxvision.weights.errors import WeightsError

_TO_FLAX = {"running_mean": "mean", "running_var": "var"}
_TO_TIMM = {flax: timm for timm, flax in _TO_FLAX.items()} | {"kernel": "weight", "scale": "weight"}

BUFFERS = ("num_batches_tracked", "relative_position_index", "relative_coords_table", "attn_mask")
"""Leaves of timm's files that hold nothing learnt: counters, and tables that follow from the configuration."""


def timm_name(name: str) -> str:
    """``bn1.scale`` to ``bn1.weight``."""
    layer, dot, leaf = name.rpartition(".")
    return f"{layer}{dot}{_TO_TIMM.get(leaf, leaf)}"


def timm_shape(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that the variable ``name`` of this shape has in a file of timm's."""
    return (shape[-1], shape[-2], *shape[:-2]) if _is_kernel(name) and len(shape) > 1 else shape


def to_timm(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Timm's names and PyTorch's layouts for a model's variables: the way back from `to_flax`.

    BatchNorm's count of batches, which timm's files have and nothing here counts, is 0.
    """
    written: dict[str, np.ndarray] = {}
    for name, array in arrays.items():
        is_kernel = _is_kernel(name) and array.ndim > 1
        written[timm_name(name)] = np.moveaxis(array, (-2, -1), (1, 0)) if is_kernel else array
        layer, _, leaf = name.rpartition(".")
        if leaf == "mean":
            written[f"{layer}.num_batches_tracked"] = np.zeros((), np.int64)
    return written


def _is_kernel(name: str) -> bool:
    return name.rpartition(".")[2] == "kernel"


def _canonical_name(name: str, ndim: int, shapes: Collection[str]) -> str:
    layer, dot, leaf = name.rpartition(".")
    if leaf != "weight":
        return f"{layer}{dot}{_TO_FLAX.get(leaf, leaf)}"
    candidates = [f"{layer}{dot}{kind}" for kind in ("kernel", "scale", "weight")]
    default = candidates[0] if ndim > 1 else candidates[1]
    return next((candidate for candidate in candidates if candidate in shapes), default)


def to_flax(entries: Iterable[tuple[str, Entry]], shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Entry]:
    """Canonical names and Flax's layouts for a file in timm's.

    Args:
        entries: arrays with timm's names, PyTorch's layouts.
        shapes: of the model's variables, by canonical name; they decide what a ``weight`` is, and whether a 1x1
            convolution's kernel is wanted as a linear layer's or the other way round.

    Raises:
        WeightsError: two entries are the same variable.
    """
    converted: dict[str, Entry] = {}
    for name, entry in entries:
        canonical = _canonical_name(name, entry.array.ndim, shapes)
        if canonical in converted:
            raise WeightsError(f"{converted[canonical].key!r} and {entry.key!r} are both {canonical!r}")
        array = entry.array
        if _is_kernel(canonical):
            array = _kernel(array, shapes.get(canonical))
        converted[canonical] = Entry(entry.key, array)
    return converted


def _kernel(array: np.ndarray, shape: tuple[int, ...] | None) -> np.ndarray:
    """Moves the output axis last; drops or adds spatial axes of size 1 as ``shape`` has them."""
    if array.ndim < 2:
        return array
    array = np.moveaxis(array, (1, 0), (-2, -1))
    if shape is not None and len(shape) >= 2:
        spatial = array.shape[:-2]
        if len(shape) != array.ndim and set(spatial) | set(shape[:-2]) == {1}:
            array = array.reshape(*shape[:-2], *array.shape[-2:])
    return array
