"""Google's ViT: the ``.npz`` files of vision_transformer (augreg, SAM) and of big_vision (FlexiViT, SigLIP).

Names of Flax's modules with slashes, where dots are here; kernels have the output last, and attention's a head axis.
big_vision's files may have a text tower, which is left aside, and the blocks stacked in one. For another size timm
resizes what is in these files bilinearly; in its own of the same weights, bicubically.
"""

import re
from collections.abc import Collection, Iterator

import numpy as np

from jaxvision.nn.position import PositionFit
from jaxvision.weights.entry import Entry
from jaxvision.weights.sources.renames import Renames, joined
from jaxvision.weights.sources.source import Named, Source, Weights

_PREFIXES = ("opt/target/", "params/img/", "params/")
_ATTENTION = {
    f"MultiHeadDotProductAttention_{number}.{theirs}": f"attn.{ours}"
    for number in (0, 1)
    for theirs, ours in {"query": "qkv[0/3]", "key": "qkv[1/3]", "value": "qkv[2/3]", "out": "proj"}.items()
}
_BLOCK = _ATTENTION | {
    "LayerNorm_0": "norm1",
    "LayerNorm_1": "norm2",
    "LayerNorm_2": "norm2",
    **{f"MlpBlock_{number}.Dense_{layer}": f"mlp.fc{layer + 1}" for number in (0, 3) for layer in (0, 1)},
}
_POOL = {
    "probe": "latent",
    "MultiHeadDotProductAttention_0.query": "q",
    "MultiHeadDotProductAttention_0.key": "kv[0/2]",
    "MultiHeadDotProductAttention_0.value": "kv[1/2]",
    "MultiHeadDotProductAttention_0.out": "proj",
    "LayerNorm_0": "norm",
    "MlpBlock_0.Dense_0": "mlp.fc1",
    "MlpBlock_0.Dense_1": "mlp.fc2",
}
_RENAME = Renames(
    {f"Transformer.encoderblock_#.{theirs}": f"blocks.#.{ours}" for theirs, ours in _BLOCK.items()}
    | {f"MAPHead_0.{theirs}": f"attn_pool.{ours}" for theirs, ours in _POOL.items()}
    | {
        "cls": "cls_token",
        "embedding": "patch_embed.proj",
        "Transformer.posembed_input.pos_embedding": "pos_embed",
        "pos_embedding": "pos_embed",
        "Transformer.encoder_norm": "norm",
        "pre_logits": "head.pre_logits",  # no model here has this layer
        "head": "head",
    }
)
_STACKED = "Transformer/encoderblock/"
_LEAVES = {"kernel": "weight", "scale": "weight"}


def _to_timm(weights: Weights, _variables: Collection[str]) -> Iterator[Named]:
    return joined(_named(weights))


def _named(weights: Weights) -> Iterator[Named]:
    prefix = next((p for p in _PREFIXES if any(key.startswith(f"{p}Transformer/") for key in weights)), "")
    for key, array in weights.items():
        if not key.startswith(prefix):
            yield None, Entry(key, array)
            continue
        name = key.removeprefix(prefix)
        if name.startswith(_STACKED):
            for index, layer in enumerate(array):
                yield _one(
                    name.replace(_STACKED, f"Transformer/encoderblock_{index}/"), Entry(f"{key}[{index}]", layer)
                )
        else:
            yield _one(name, Entry(key, array))


def _one(name: str, entry: Entry) -> Named:
    path, _, leaf = name.replace("/", ".").rpartition(".")
    timm = _RENAME(f"{path}.{_LEAVES.get(leaf, leaf)}".lstrip("."))
    array = entry.array
    if leaf == "kernel":
        array = _kernel(array, is_out=path.endswith(".out"))
    elif leaf == "bias" and re.search(r"\.(query|key|value)$", path):
        array = array.reshape(-1)
    return timm, Entry(entry.key, array)


def _kernel(array: np.ndarray, *, is_out: bool) -> np.ndarray:
    """PyTorch's layout of a convolution's kernel, or of a linear layer's with or without a head axis."""
    if array.ndim == 4:
        return array.transpose(3, 2, 0, 1)
    if array.ndim == 3:
        array = array.reshape(-1, array.shape[-1]) if is_out else array.reshape(array.shape[0], -1)
    return array.T


GOOGLE_VIT = Source(
    "google_vit",
    "Google's ViT (.npz)",
    marks=tuple(f"{prefix}embedding/kernel" for prefix in ("", *_PREFIXES)),
    to_timm=_to_timm,
    aside=("opt/state/*", "params/txt/*", "params/t", "params/b"),
    fit=PositionFit(interpolation="bilinear"),
)
