"""The authors' DINOv2 (github.com/facebookresearch/dinov2), its checkpoints of training too, and Google's TIPSv2.

Blocks may be in chunks (``blocks.0.5.``, where the second number counts through all chunks). The mask token, the
heads of training and text towers are left aside.
"""

import re
from collections.abc import Collection, Iterator

import numpy as np

from jaxvision.weights.entry import Entry
from jaxvision.weights.sources.renames import Renames
from jaxvision.weights.sources.source import Named, Source, Weights

_PREFIX = re.compile(r"(backbone|vision_encoder)\.")  # of checkpoints of training, and of TIPSv2
_GATED = {"mlp.w12": "mlp.fc1", "mlp.w3": "mlp.fc2"}
_PLAIN = ("norm1", "attn.qkv", "attn.proj", "ls1", "norm2", "mlp.fc1", "mlp.fc2", "ls2")
_BLOCK = {name: name for name in _PLAIN} | _GATED
_RENAME = Renames(
    {f"blocks.#.{theirs}": f"blocks.#.{ours}" for theirs, ours in _BLOCK.items()}
    | {name: name for name in ("cls_token", "pos_embed", "patch_embed.proj", "norm", "head")}
    | {"register_tokens": "reg_token"}
)
_CHUNKED = Renames({f"blocks.#.#.{name}": f"#/blocks.#.{name}" for name in _BLOCK})


def _to_timm(weights: Weights, _variables: Collection[str]) -> Iterator[Named]:
    yield from with_registers([(_timm_name(key), Entry(key, array)) for key, array in weights.items()])


def _timm_name(key: str) -> str | None:
    name = _PREFIX.sub("", key, count=1) if _PREFIX.match(key) else key
    chunk_and_name = _CHUNKED(name)
    return _RENAME(name if chunk_and_name is None else chunk_and_name.rpartition("/")[2])


def with_registers(entries: list[Named]) -> list[Named]:
    """The entries of a network; with registers, its class token has its position embedding added, as timm has it.

    timm has position embeddings for the patches alone there.
    """
    known = {name: entry for name, entry in entries if name is not None}
    if not {"reg_token", "cls_token", "pos_embed"} <= known.keys():
        return entries
    token, positions = known["cls_token"], known["pos_embed"]
    if positions.array.ndim != 3 or token.array.shape != (1, 1, positions.array.shape[-1]):
        return entries  # which the loader reports as misshapen
    placed = token.array.astype(np.float32) + positions.array[:, :1].astype(np.float32)
    changed = {
        "cls_token": Entry(f"{token.key} + {positions.key}[:, 0]", placed),
        "pos_embed": Entry(f"{positions.key}[:, 1:]", positions.array[:, 1:]),
    }
    return [(name, changed.get(name or "", entry)) for name, entry in entries]


DINOV2 = Source(
    "dinov2",
    "the authors' DINOv2 and TIPSv2",
    marks=("mask_token", "backbone.mask_token", "vision_encoder.mask_token"),
    unless=("decoder_embed.weight",),
    to_timm=_to_timm,
    aside=("mask_token", "*.mask_token", "dino_head.*", "ibot_head.*", "text_encoder.*", "temperature"),
)
