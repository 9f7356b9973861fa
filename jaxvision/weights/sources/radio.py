"""NVIDIA's C-RADIO (github.com/NVlabs/RADIO), as it is on the Hugging Face hub: the network without its adaptors.

Patches are embedded by a linear layer without a bias, and the tokens before them are one array, of which the first is
timm's class token. Positions are for 128x128 patches.
"""

import math
from collections.abc import Collection, Iterator

import numpy as np

from jaxvision.nn.position import PositionFit
from jaxvision.weights.entry import Entry
from jaxvision.weights.sources.renames import Renames
from jaxvision.weights.sources.source import Named, Source, Weights

_MODEL = "radio_model.model."
_PLAIN = ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")
_BLOCK = {name: name for name in _PLAIN} | {"ls1.grandma": "ls1.gamma", "ls2.grandma": "ls2.gamma"}
_RENAME = Renames(
    {f"{_MODEL}blocks.#.{theirs}": f"blocks.#.{ours}" for theirs, ours in _BLOCK.items()}
    | {
        f"{_MODEL}patch_generator.pos_embed": "pos_embed",
        f"{_MODEL}patch_generator.cls_token.token": "cls_token",
        f"{_MODEL}patch_generator.embedder": "patch_embed.proj",
    }
)


def _to_timm(weights: Weights, _variables: Collection[str]) -> Iterator[Named]:
    for key, array in weights.items():
        name = _RENAME(key)
        if name == "cls_token" and array.ndim == 2:
            yield "cls_token", Entry(f"{key}[0]", array[None, :1])
            yield "reg_token", Entry(f"{key}[1:]", array[None, 1:])
        elif name == "patch_embed.proj.weight" and array.ndim == 2:
            side = math.isqrt(array.shape[1] // 3)
            fits = array.shape[1] == 3 * side * side
            yield name, Entry(key, array.reshape(-1, 3, side, side) if fits else array)
            no_bias = np.zeros(array.shape[:1], np.float32)
            yield "patch_embed.proj.bias", Entry(f"{key} (which has no bias: zeros)", no_bias)
        else:
            yield name, Entry(key, array)


RADIO = Source(
    "radio",
    "NVIDIA's C-RADIO",
    marks=(f"{_MODEL}patch_generator.embedder.weight",),
    to_timm=_to_timm,
    aside=("radio_model.input_conditioner.*", "radio_model.summary_idxs", "radio_model.adaptors.*"),
    fit=PositionFit(crop=True),
)
