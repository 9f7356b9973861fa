"""timm's own files: the names are right as they are."""

from collections.abc import Collection, Iterator

from jaxvision.weights.entry import Entry
from jaxvision.weights.sources.deit3 import DEIT3
from jaxvision.weights.sources.dinov2 import DINOV2
from jaxvision.weights.sources.mae import MAE
from jaxvision.weights.sources.microsoft_swin import MICROSOFT_SWIN
from jaxvision.weights.sources.source import Named, Source, Weights

_DIALECTS = (DEIT3, DINOV2, MAE, MICROSOFT_SWIN)  # timm's names, but for a few keys by which they are known


def _to_timm(weights: Weights, _variables: Collection[str]) -> Iterator[Named]:
    for name, array in weights.items():
        yield name, Entry(name, array)


TIMM = Source(
    "timm",
    "timm, torchvision's ResNets, and the authors' DeiT and DINO",
    marks=(
        "patch_embed.proj.weight",
        "conv_stem.weight",
        "layer1.0.conv1.weight",
        "stem.conv.weight",
        "stem.conv1.weight",
    ),
    unless=tuple(mark for dialect in _DIALECTS for mark in dialect.marks),
    to_timm=_to_timm,
)
