"""The authors' masked autoencoders with their decoder (github.com/facebookresearch/mae).

The decoder is of no use to a classifier and is left aside. Encoders by themselves have timm's names.
"""

from collections.abc import Collection, Iterator

from jaxvision.weights.entry import Entry
from jaxvision.weights.sources.source import Named, Source, Weights

_DECODER = (
    "mask_token",
    "decoder_embed.*",
    "decoder_pos_embed",
    "decoder_blocks.*",
    "decoder_norm.*",
    "decoder_pred.*",
)


def _to_timm(weights: Weights, _variables: Collection[str]) -> Iterator[Named]:
    for key, array in weights.items():
        yield None if MAE.leaves_aside(key) else key, Entry(key, array)


MAE = Source(
    "mae", "the authors' masked autoencoders", marks=("decoder_embed.weight",), to_timm=_to_timm, aside=_DECODER
)
