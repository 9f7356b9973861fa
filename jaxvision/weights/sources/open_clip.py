"""open_clip's models with an image tower of timm's (github.com/mlfoundations/open_clip), such as SigLIP.

A linear projection into the space shared with texts is timm's classifier, without a bias. The text tower is left aside.
"""

from collections.abc import Collection, Iterator

import numpy as np

from jaxvision.weights.entry import Entry
from jaxvision.weights.sources.openai_clip import TEXT_TOWER
from jaxvision.weights.sources.source import Named, Source, Weights

_TRUNK, _PROJECTION = "visual.trunk.", "visual.head.proj.weight"


def _to_timm(weights: Weights, _variables: Collection[str]) -> Iterator[Named]:
    for key, array in weights.items():
        if key == _PROJECTION:
            yield "head.weight", Entry(key, array)
            yield "head.bias", Entry(f"{key} (which has no bias: zeros)", np.zeros(array.shape[:1], np.float32))
        else:
            yield key.removeprefix(_TRUNK) if key.startswith(_TRUNK) else None, Entry(key, array)


OPEN_CLIP = Source(
    "open_clip",
    "open_clip's image towers of timm",
    marks=(f"{_TRUNK}patch_embed.proj.weight", f"{_TRUNK}conv1.weight"),
    to_timm=_to_timm,
    aside=TEXT_TOWER,
)
