"""Apple's AIMv2 (github.com/apple/ml-aim), as it is on the Hugging Face hub."""

from collections.abc import Collection, Iterator

from jaxvision.weights.sources.renames import Renames, named_by
from jaxvision.weights.sources.source import Named, Source, Weights

_BLOCK = {
    "norm_1": "norm1",
    "attn.qkv": "attn.qkv",
    "attn.proj": "attn.proj",
    "norm_2": "norm2",
    "mlp.fc1": "mlp.fc1_g",
    "mlp.fc2": "mlp.fc2",
    "mlp.fc3": "mlp.fc1_x",
}
_RENAME = Renames(
    {f"trunk.blocks.#.{theirs}": f"blocks.#.{ours}" for theirs, ours in _BLOCK.items()}
    | {
        "preprocessor.patchifier.proj": "patch_embed.proj",
        "preprocessor.patchifier.norm": "patch_embed.norm",
        "preprocessor.pos_embed": "pos_embed",
        "trunk.post_trunk_norm": "norm",
    }
)


def _to_timm(weights: Weights, _variables: Collection[str]) -> Iterator[Named]:
    return named_by(_RENAME, weights)


AIMV2 = Source("aimv2", "Apple's AIMv2", marks=("preprocessor.patchifier.proj.weight",), to_timm=_to_timm)
