"""timm's own files: the names are right as they are."""

from collections.abc import Collection, Iterator, Mapping

import numpy as np

from jaxvision.weights.entry import Entry
from jaxvision.weights.sources.source import Source


def _to_timm(weights: Mapping[str, np.ndarray], _variables: Collection[str]) -> Iterator[tuple[str, Entry]]:
    for name, array in weights.items():
        yield name, Entry(name, array)


TIMM = Source("timm", recognises=lambda keys: True, to_timm=_to_timm)
