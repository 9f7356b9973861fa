"""Our own names and layouts, as `jaxvision.functional.variables_of` has them: for models saved from here."""

from collections.abc import Collection, Iterator, Mapping

import numpy as np

from jaxvision.weights.entry import Entry
from jaxvision.weights.layout import timm_name
from jaxvision.weights.sources.source import Source


def _recognises(keys: Collection[str]) -> bool:
    return any(key.rpartition(".")[2] == "kernel" for key in keys)


def _to_timm(weights: Mapping[str, np.ndarray], _variables: Collection[str]) -> Iterator[tuple[str, Entry]]:
    for name, array in weights.items():
        is_kernel = name.rpartition(".")[2] == "kernel" and array.ndim > 1
        yield timm_name(name), Entry(name, np.moveaxis(array, (-2, -1), (1, 0)) if is_kernel else array)


JAXVISION = Source("jaxvision", recognises=_recognises, to_timm=_to_timm)
