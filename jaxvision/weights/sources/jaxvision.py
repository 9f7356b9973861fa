"""Our own names and layouts, as `jaxvision.functional.variables_of` has them: for models saved from here."""

from collections.abc import Collection, Iterator

import numpy as np

from jaxvision.weights.entry import Entry
from jaxvision.weights.layout import timm_name
from jaxvision.weights.sources.source import Named, Source, Weights


def _to_timm(weights: Weights, _variables: Collection[str]) -> Iterator[Named]:
    for name, array in weights.items():
        is_kernel = name.rpartition(".")[2] == "kernel" and array.ndim > 1
        yield timm_name(name), Entry(name, np.moveaxis(array, (-2, -1), (1, 0)) if is_kernel else array)


JAXVISION = Source("jaxvision", "jaxvision's own names", marks=("*.kernel",), to_timm=_to_timm)
