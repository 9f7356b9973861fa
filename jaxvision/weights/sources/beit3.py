"""Microsoft's BEiT-3 (github.com/microsoft/unilm): the image branch (A) of a network for images and texts.

The text branch (B) and the mask token are left aside. The table of positions has two rows in front that images never
use.
"""

from collections.abc import Collection, Iterator

from jaxvision.weights.entry import Entry
from jaxvision.weights.sources.renames import Renames, joined
from jaxvision.weights.sources.source import Named, Source, Weights

_BLOCK = {
    "self_attn_layer_norm.A": "norm1",
    "self_attn.q_proj.A": "attn.qkv[0/3]",
    "self_attn.k_proj.A": "attn.qkv[1/3]",
    "self_attn.v_proj.A": "attn.qkv[2/3]",
    "self_attn.inner_attn_ln.A": "attn.norm",
    "self_attn.out_proj.A": "attn.proj",
    "final_layer_norm.A": "norm2",
    "ffn.A.fc1": "mlp.fc1",
    "ffn.A.ffn_layernorm": "mlp.norm",
    "ffn.A.fc2": "mlp.fc2",
}
_RENAME = Renames(
    {f"beit3.encoder.layers.#.{theirs}": f"blocks.#.{ours}" for theirs, ours in _BLOCK.items()}
    | {
        "beit3.vision_embed.cls_token": "cls_token",
        "beit3.vision_embed.proj": "patch_embed.proj",
        "beit3.encoder.embed_positions.A.weight": "pos_embed",
        "fc_norm": "fc_norm",
        "head": "head",
    }
)


def _to_timm(weights: Weights, _variables: Collection[str]) -> Iterator[Named]:
    return joined(_named(weights))


def _named(weights: Weights) -> Iterator[Named]:
    for key, array in weights.items():
        name = _RENAME(key)
        yield name, Entry(key, array[None, 2:] if name == "pos_embed" else array)


BEIT3 = Source(
    "beit3",
    "Microsoft's BEiT-3",
    marks=("beit3.vision_embed.proj.weight",),
    to_timm=_to_timm,
    aside=("beit3.text_embed.weight", "beit3.vision_embed.mask_token", "*.B.*"),
)
