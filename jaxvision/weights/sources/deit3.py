"""The authors' DeiT III (github.com/facebookresearch/deit): timm's names but for LayerScale."""

from collections.abc import Collection, Iterator

from jaxvision.weights.entry import Entry
from jaxvision.weights.sources.renames import Renames
from jaxvision.weights.sources.source import Named, Source, Weights

_RENAME = Renames({"blocks.#.gamma_1": "blocks.#.ls1.gamma", "blocks.#.gamma_2": "blocks.#.ls2.gamma"})


def _to_timm(weights: Weights, _variables: Collection[str]) -> Iterator[Named]:
    for key, array in weights.items():
        yield _RENAME(key) or key, Entry(key, array)


DEIT3 = Source("deit3", "the authors' DeiT III", marks=("blocks.0.gamma_1",), to_timm=_to_timm)
