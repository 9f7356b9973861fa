"""The authors' Swin and Swin V2 (github.com/microsoft/Swin-Transformer), and timm's files from before it changed.

timm's names, but patches merge at the end of a stage, where timm has it at the start of the next, and the classifier is
not in a head.
"""

from collections.abc import Collection, Iterator

from jaxvision.weights.entry import Entry
from jaxvision.weights.sources.renames import Renames
from jaxvision.weights.sources.source import Named, Source, Weights

_RENAME = Renames(
    {f"layers.#.downsample.{layer}": f"layers.#+1.downsample.{layer}" for layer in ("norm", "reduction")}
    | {"head": "head.fc"}
)


def _to_timm(weights: Weights, _variables: Collection[str]) -> Iterator[Named]:
    for key, array in weights.items():
        yield _RENAME(key) or key, Entry(key, array)


MICROSOFT_SWIN = Source(
    "microsoft_swin", "the authors' Swin and Swin V2", marks=("layers.0.downsample.reduction.weight",), to_timm=_to_timm
)
