"""torchvision's models: ViT, Swin, Swin V2, EfficientNet and V2. Its ResNets have timm's names.

Convolutional networks are sequences of numbered layers there. Swin V2 has a bias for queries, keys and values together,
of which it sets the keys' part to zero in every pass; timm has none for keys.
"""

import re
from collections.abc import Collection, Iterator
from typing import Any

from jaxvision.weights.entry import Entry
from jaxvision.weights.sources.needs import needs
from jaxvision.weights.sources.renames import Renames, named_by
from jaxvision.weights.sources.source import Named, Source, Weights

_VIT_BLOCK = {
    "ln_1": "norm1",
    "self_attention.in_proj_weight": "attn.qkv.weight",
    "self_attention.in_proj_bias": "attn.qkv.bias",
    "self_attention.out_proj": "attn.proj",
    "ln_2": "norm2",
    "mlp.0": "mlp.fc1",
    "mlp.3": "mlp.fc2",
    "mlp.linear_1": "mlp.fc1",  # as the published files have it
    "mlp.linear_2": "mlp.fc2",
}
_VIT = Renames(
    {f"encoder.layers.encoder_layer_#.{theirs}": f"blocks.#.{ours}" for theirs, ours in _VIT_BLOCK.items()}
    | {
        "class_token": "cls_token",
        "conv_proj": "patch_embed.proj",
        "encoder.pos_embedding": "pos_embed",
        "encoder.ln": "norm",
        "heads.head": "head",
        "heads.pre_logits": "head.pre_logits",  # no model here has this layer
    }
)

_SWIN_BLOCK = {
    **{name: name for name in ("norm1", "attn.qkv", "attn.proj", "norm2", "attn.cpb_mlp.0", "attn.cpb_mlp.2")},
    "attn.relative_position_bias_table": "attn.relative_position_bias_table",
    "attn.logit_scale": "attn.logit_scale",
    "mlp.0": "mlp.fc1",
    "mlp.3": "mlp.fc2",
}
_STAGES = range(4)  # of every Swin that is published
_SWIN = Renames(
    {
        f"features.{2 * stage + 1}.#.{theirs}": f"layers.{stage}.blocks.#.{ours}"
        for stage in _STAGES
        for theirs, ours in _SWIN_BLOCK.items()
    }
    | {
        f"features.{2 * stage}.{layer}": f"layers.{stage}.downsample.{layer}"
        for stage in _STAGES[1:]
        for layer in ("norm", "reduction")
    }
    | {
        "features.0.0": "patch_embed.proj",
        "features.0.2": "patch_embed.norm",
        "norm": "norm",
        "head": "head.fc",
    }
)
_QKV_BIAS = re.compile(r"layers\.\d+\.blocks\.\d+\.attn\.qkv\.bias")

# timm's names for the convolutions of a block in their order, by how many there are and whether there is a gate.
_CONVOLUTIONS = {
    (1, False): ("conv",),
    (2, False): ("conv_exp", "conv_pwl"),
    (2, True): ("conv_dw", "conv_pw"),
    (3, True): ("conv_pw", "conv_dw", "conv_pwl"),
}
_GATE = {"fc1": "se.conv_reduce", "fc2": "se.conv_expand"}


def _to_timm(weights: Weights, _variables: Collection[str]) -> Iterator[Named]:
    if _is_efficientnet(weights):
        return named_by(_efficientnet(weights), weights)
    if any(key.startswith("features.1.0.attn.") for key in weights):
        return _swin(weights)
    return named_by(_VIT, weights)


def _is_efficientnet(weights: Weights) -> bool:
    return any(key.startswith("features.1.0.block.") for key in weights)


def _swin(weights: Weights) -> Iterator[Named]:
    is_v2 = any(key.endswith(".attn.logit_scale") for key in weights)
    for name, entry in named_by(_SWIN, weights):
        if not is_v2 or name is None or not _QKV_BIAS.fullmatch(name):
            yield name, entry
            continue
        attention, third = name.removesuffix("qkv.bias"), len(entry.array) // 3
        yield f"{attention}q_bias", Entry(f"{entry.key}[queries]", entry.array[:third])
        yield None, Entry(f"{entry.key}[keys]", entry.array[third : 2 * third])
        yield f"{attention}v_bias", Entry(f"{entry.key}[values]", entry.array[2 * third :])


def _efficientnet(weights: Weights) -> Renames:
    """The table of one network: what a layer of a block is depends on what is in the block."""
    rows = {"features.0.0": "conv_stem", "features.0.1": "bn1", "classifier.1": "classifier"}
    blocks: dict[tuple[str, str], dict[int, bool]] = {}
    for key in weights:
        if match := re.fullmatch(r"features\.(\d+)\.(\d+)\.block\.(\d+)\.(0|fc1)\.weight", key):
            blocks.setdefault((match[1], match[2]), {})[int(match[3])] = match[4] == "fc1"
        elif (match := re.fullmatch(r"features\.(\d+)\.0\.weight", key)) and match[1] != "0":
            rows |= {f"features.{match[1]}.0": "conv_head", f"features.{match[1]}.1": "bn2"}
    for (feature, index), layers in blocks.items():
        theirs, ours = f"features.{feature}.{index}.block", f"blocks.{int(feature) - 1}.{index}"
        convolutions = [number for number, is_gate in sorted(layers.items()) if not is_gate]
        names = _CONVOLUTIONS.get((len(convolutions), any(layers.values())), ())
        for order, (number, name) in enumerate(zip(convolutions, names, strict=False), start=1):
            rows |= {f"{theirs}.{number}.0": f"{ours}.{name}", f"{theirs}.{number}.1": f"{ours}.bn{order}"}
        gates = (number for number, is_gate in layers.items() if is_gate)
        rows |= {f"{theirs}.{number}.{layer}": f"{ours}.{_GATE[layer]}" for number in gates for layer in _GATE}
    return Renames(rows)


def _objection(config: Any, weights: Weights) -> str | None:
    """B5 to B7 and V2 have another epsilon than timm's models of these names."""
    if not _is_efficientnet(weights):
        return None
    is_v1 = "features.1.0.block.1.fc1.weight" in weights
    widest = max(
        (len(array) for key, array in weights.items() if re.fullmatch(r"features\.\d+\.1\.bias", key)), default=0
    )
    eps = 1e-5 if is_v1 and widest < 2048 else 1e-3
    return needs(config, padding="symmetric", bn_eps=eps)


TORCHVISION = Source(
    "torchvision",
    "torchvision's ViT, Swin and EfficientNet",
    marks=("conv_proj.weight", "features.1.0.attn.qkv.weight", "features.1.0.block.0.0.weight"),
    to_timm=_to_timm,
    aside=("*.attn.qkv.bias[[]keys]",),
    objection=_objection,
)
