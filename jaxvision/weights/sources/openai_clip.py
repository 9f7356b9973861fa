"""CLIP's image tower, from OpenAI (github.com/openai/CLIP) and open_clip.

The projection into the space shared with texts is timm's classifier, without a bias. The text tower is left aside.
"""

from collections.abc import Collection, Iterator

import numpy as np

from jaxvision.weights.entry import Entry
from jaxvision.weights.sources.renames import Renames
from jaxvision.weights.sources.source import Named, Source, Weights

_BLOCK = {
    "ln_1": "norm1",
    "attn.in_proj_weight": "attn.qkv.weight",
    "attn.in_proj_bias": "attn.qkv.bias",
    "attn.out_proj": "attn.proj",
    "ls_1": "ls1",
    "ln_2": "norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
    "ls_2": "ls2",
}
_RENAME = Renames(
    {f"visual.transformer.resblocks.#.{theirs}": f"blocks.#.{ours}" for theirs, ours in _BLOCK.items()}
    | {
        "visual.class_embedding": "cls_token",
        "visual.positional_embedding": "pos_embed",
        "visual.conv1": "patch_embed.proj",
        "visual.ln_pre": "norm_pre",
        "visual.ln_post": "norm",
        "visual.proj": "head.weight",
    }
)
TEXT_TOWER = (
    *("text.*", "transformer.*", "token_embedding.*", "ln_final.*", "positional_embedding", "text_projection"),
    *("attn_mask", "logit_scale", "logit_bias", "input_resolution", "context_length", "vocab_size"),
)


def _to_timm(weights: Weights, _variables: Collection[str]) -> Iterator[Named]:
    for key, array in weights.items():
        name = _RENAME(key)
        if name in ("cls_token", "pos_embed"):
            array = array.reshape(1, -1, array.shape[-1])
        if name == "head.weight":
            array = array.T
            yield "head.bias", Entry(f"{key} (which has no bias: zeros)", np.zeros(array.shape[:1], np.float32))
        yield name, Entry(key, array)


OPENAI_CLIP = Source(
    "openai_clip", "CLIP's image tower", marks=("visual.class_embedding",), to_timm=_to_timm, aside=TEXT_TOWER
)
