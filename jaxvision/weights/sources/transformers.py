"""Hugging Face's transformers: ViT, DeiT, DINOv2, Swin, Swin V2, EfficientNet and ResNet.

Their files on the hub have the names of release 4; the modules of release 5 have other names, which are read too. A
network with a head has a prefix (``vit.``) before all names but the head's.
"""

import re
from collections.abc import Collection, Iterator
from typing import Any

from jaxvision.weights.sources.dinov2 import with_registers
from jaxvision.weights.sources.needs import needs
from jaxvision.weights.sources.renames import Renames, blocks_in_order, joined, named_by
from jaxvision.weights.sources.source import Named, Source, Weights

_PREFIXES = ("vit.", "deit.", "dinov2.", "dinov2_with_registers.", "swin.", "swinv2.", "efficientnet.", "resnet.")
_EPS = 1e-12  # of ViT's and DeiT's norms
_DEPTHWISE = "encoder.blocks.0.depthwise_conv."
_PATCHES = "embeddings.patch_embeddings.projection"

_QKV = {
    "attention.attention.query": "attn.qkv[0/3]",
    "attention.attention.key": "attn.qkv[1/3]",
    "attention.attention.value": "attn.qkv[2/3]",
    "attention.q_proj": "attn.qkv[0/3]",
    "attention.k_proj": "attn.qkv[1/3]",
    "attention.v_proj": "attn.qkv[2/3]",
    "attention.output.dense": "attn.proj",
    "attention.o_proj": "attn.proj",
}
_NORMS = {"layernorm_before": "norm1", "layernorm_after": "norm2"}
_MLP = {"intermediate.dense": "mlp.fc1", "output.dense": "mlp.fc2", "mlp.fc1": "mlp.fc1", "mlp.fc2": "mlp.fc2"}

_VIT_BLOCK = _QKV | _NORMS | _MLP
_VIT = Renames(
    {
        f"{stack}.#.{theirs}": f"blocks.#.{ours}"
        for stack in ("encoder.layer", "layers")
        for theirs, ours in _VIT_BLOCK.items()
    }
    | {
        "embeddings.cls_token": "cls_token",
        "embeddings.distillation_token": "dist_token",
        "embeddings.position_embeddings": "pos_embed",
        _PATCHES: "patch_embed.proj",
        "layernorm": "norm",
        "classifier": "head",
        "cls_classifier": "head",
        "distillation_classifier": "head_dist",
    }
)

_DINOV2_BLOCK = _QKV | {
    "norm1": "norm1",
    "norm2": "norm2",
    "layer_scale1.lambda1": "ls1.gamma",
    "layer_scale2.lambda1": "ls2.gamma",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
    "mlp.weights_in": "mlp.fc1",
    "mlp.weights_out": "mlp.fc2",
    "mlp.gate_proj": "mlp.fc1[0/2]",
    "mlp.up_proj": "mlp.fc1[1/2]",
    "mlp.down_proj": "mlp.fc2",
}
_DINOV2 = Renames(
    {f"encoder.layer.#.{theirs}": f"blocks.#.{ours}" for theirs, ours in _DINOV2_BLOCK.items()}
    | {
        "embeddings.cls_token": "cls_token",
        "embeddings.register_tokens": "reg_token",
        "embeddings.position_embeddings": "pos_embed",
        _PATCHES: "patch_embed.proj",
        "layernorm": "norm",
        "classifier": "head",
    }
)

_SWIN_ATTENTION = {
    "attention.self.query": "attn.qkv[0/3]",
    "attention.self.key": "attn.qkv[1/3]",
    "attention.self.value": "attn.qkv[2/3]",
    "attention.self.relative_position_bias_table": "attn.relative_position_bias_table",
    "attention.relative_position_bias.relative_position_bias_table": "attn.relative_position_bias_table",
}
_SWIN_V2_ATTENTION = {
    "attention.self.query.bias": "attn.q_bias",
    "attention.self.value.bias": "attn.v_bias",
    "attention.self.logit_scale": "attn.logit_scale",
    "attention.self.continuous_position_bias_mlp.0": "attn.cpb_mlp.0",
    "attention.self.continuous_position_bias_mlp.2": "attn.cpb_mlp.2",
}
_SWIN_OUTSIDE = {
    "embeddings.norm": "patch_embed.norm",
    _PATCHES: "patch_embed.proj",
    "encoder.layers.#.downsample.norm": "layers.#+1.downsample.norm",
    "encoder.layers.#.downsample.reduction": "layers.#+1.downsample.reduction",
    "layernorm": "norm",
    "classifier": "head.fc",
}


def _swin(block: dict[str, str]) -> Renames:
    inside = {f"encoder.layers.#.blocks.#.{theirs}": f"layers.#.blocks.#.{ours}" for theirs, ours in block.items()}
    return Renames(inside | _SWIN_OUTSIDE)


_SWIN = _swin(_SWIN_ATTENTION | _QKV | _NORMS | _MLP)
_SWIN_V2 = _swin(_SWIN_V2_ATTENTION | _SWIN_ATTENTION | _QKV | _NORMS | _MLP)

_RESNET = Renames(
    {
        "embedder.embedder.convolution": "conv1",
        "embedder.embedder.normalization": "bn1",
        "encoder.stages.#.layers.#.layer.#.convolution": "layer#+1.#.conv#+1",
        "encoder.stages.#.layers.#.layer.#.normalization": "layer#+1.#.bn#+1",
        "encoder.stages.#.layers.#.shortcut.convolution": "layer#+1.#.downsample.0",
        "encoder.stages.#.layers.#.shortcut.normalization": "layer#+1.#.downsample.1",
        "classifier.1": "fc",
    }
)

_GATE = {"squeeze_excite.reduce": "se.conv_reduce", "squeeze_excite.expand": "se.conv_expand"}
_EXPANDED = _GATE | {
    "expansion.expand_conv": "conv_pw",
    "expansion.expand_bn": "bn1",
    "depthwise_conv.depthwise_conv": "conv_dw",
    "depthwise_conv.depthwise_norm": "bn2",
    "projection.project_conv": "conv_pwl",
    "projection.project_bn": "bn3",
}
_PLAIN = _GATE | {
    "depthwise_conv.depthwise_conv": "conv_dw",
    "depthwise_conv.depthwise_norm": "bn1",
    "projection.project_conv": "conv_pw",
    "projection.project_bn": "bn2",
}
_EFFICIENTNET_OUTSIDE = {
    "embeddings.convolution": "conv_stem",
    "embeddings.batchnorm": "bn1",
    "encoder.top_conv": "conv_head",
    "encoder.top_bn": "bn2",
    "classifier": "classifier",
}


def _to_timm(weights: Weights, variables: Collection[str]) -> Iterator[Named]:
    prefix = next((prefix for prefix in _PREFIXES if any(key.startswith(prefix) for key in weights)), "")
    if _any_has(weights, "encoder.stages."):
        return named_by(_RESNET, weights, prefix)
    if _any_has(weights, _DEPTHWISE):
        return named_by(_efficientnet([key.removeprefix(prefix) for key in weights], variables), weights, prefix)
    if _any_has(weights, "encoder.layers.0.blocks."):
        return joined(named_by(_SWIN_V2 if _any_has(weights, ".logit_scale") else _SWIN, weights, prefix))
    if _any_has(weights, ".layer_scale1."):
        return iter(with_registers(list(joined(named_by(_DINOV2, weights, prefix)))))
    return joined(named_by(_VIT, weights, prefix))


def _any_has(weights: Weights, part: str) -> bool:
    return any(part in key for key in weights)


def _efficientnet(keys: list[str], variables: Collection[str]) -> Renames:
    """The table of one network: its blocks are numbered through, and the first have no expansion."""
    rows = dict(_EFFICIENTNET_OUTSIDE)
    for index, block in enumerate(blocks_in_order(variables)):
        theirs = f"encoder.blocks.{index}"
        layers = _EXPANDED if f"{theirs}.expansion.expand_conv.weight" in keys else _PLAIN
        rows |= {f"{theirs}.{layer}": f"{block}.{ours}" for layer, ours in layers.items()}
    return Renames(rows)


def _objection(config: Any, weights: Weights) -> str | None:
    """EfficientNet pads as TensorFlow does."""
    if not _any_has(weights, _DEPTHWISE):
        return None
    return needs(config, padding="SAME", bn_eps=1e-3)


def _remark(config: Any, weights: Weights) -> str | None:
    """ViT and DeiT have an epsilon of their own unless a configuration beside the weights says otherwise."""
    eps = getattr(config, "norm_eps", None)
    if eps in (None, _EPS) or not any(
        re.search(r"(encoder\.layer|(^|\.)layers)\.0\.layernorm_before\.weight$", key) for key in weights
    ):
        return None
    return (
        f"transformers' ViT and DeiT have {_EPS:g} for layer_norm_eps unless their config.json says otherwise, this "
        f"model has {eps:g}: for the same digits build it with create_model(..., norm_eps=...) of that value"
    )


TRANSFORMERS = Source(
    "transformers",
    "Hugging Face's transformers",
    marks=(f"*{_PATCHES}.weight", "*embeddings.convolution.weight", "*embedder.embedder.convolution.weight"),
    to_timm=_to_timm,
    aside=("*mask_token", "*pooler.dense.*", "decoder.*"),
    objection=_objection,
    remark=_remark,
)
