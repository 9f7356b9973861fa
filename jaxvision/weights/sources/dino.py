"""Checkpoints of DINO's training (github.com/facebookresearch/dino): a backbone with timm's names, and DINO's head.

The head is for self-distillation and is left aside. The backbone by itself has timm's names.
"""

from collections.abc import Collection, Iterator

from jaxvision.weights.entry import Entry
from jaxvision.weights.sources.source import Named, Source, Weights

_PREFIX = "backbone."


def _to_timm(weights: Weights, _variables: Collection[str]) -> Iterator[Named]:
    for key, array in weights.items():
        yield key.removeprefix(_PREFIX) if key.startswith(_PREFIX) else None, Entry(key, array)


DINO = Source(
    "dino",
    "checkpoints of DINO's training",
    marks=("backbone.patch_embed.proj.weight", "backbone.layer1.0.conv1.weight"),
    unless=("backbone.mask_token",),
    to_timm=_to_timm,
    aside=("head.mlp.*", "head.last_layer.*"),
)
