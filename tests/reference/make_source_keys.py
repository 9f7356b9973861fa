"""Writes sources.npz: keys, shapes and logits of small networks of torchvision, transformers, Google and others.

Every library computes the logits of the weights in its own naming, so that the tables of renames here are compared with
the libraries and not with themselves. Authors' files are read by timm. Run it in the parity environment:
``python -m tests.reference.make_source_keys``.
"""

import json
import re
import tempfile
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
import torchvision
import transformers
from safetensors import safe_open
from safetensors.numpy import save_file
from timm.layers import StdConv2d
from timm.models.deit import checkpoint_filter_fn as deit_filter
from timm.models.resnetv2 import ResNetV2
from timm.models.swin_transformer import checkpoint_filter_fn as swin_filter
from timm.models.swin_transformer_v2 import checkpoint_filter_fn as swin_v2_filter
from timm.models.vision_transformer import checkpoint_filter_fn as vit_filter
from torchvision.models.efficientnet import EfficientNet, FusedMBConvConfig, MBConvConfig
from torchvision.models.swin_transformer import PatchMergingV2, SwinTransformer, SwinTransformerBlockV2
from torchvision.models.vision_transformer import VisionTransformer

from tests.reference.source_cases import CASES, DATA, RESIZED, SourceCase, weights
from tests.reference.synthetic import images

Shapes = dict[str, tuple[int, ...]]
Made = tuple[Shapes, np.ndarray]
Rename = Callable[[str], str]


def run(model: torch.nn.Module, case: SourceCase) -> Any:
    """What a network says of two images."""
    pixels = torch.from_numpy(images((2, *case.size, 3))).permute(0, 3, 1, 2)
    with torch.no_grad():
        return model.eval()(pixels)


def fill(model: torch.nn.Module, gain: float) -> Shapes:
    """Gives a network the weights that belong to its names, and returns their shapes."""
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    given = model.state_dict() | {
        name: torch.from_numpy(value) for name, value in weights(shapes, gain).items() if value.dtype == np.float32
    }
    model.load_state_dict(given, strict=True)
    return shapes


def of_module(build: Callable[[], torch.nn.Module], rename: Rename = str) -> Callable[[SourceCase], Made]:
    """The state dict of a module, its logits, and the keys of a file that it also takes."""

    def make(case: SourceCase) -> Made:
        model = build()
        names = {rename(name): name for name in model.state_dict()}
        shapes = {key: tuple(model.state_dict()[name].shape) for key, name in names.items()}
        given = {key: torch.from_numpy(value) for key, value in weights(shapes, case.gain).items()}
        kept = {key: model.state_dict()[names[key]] for key, value in given.items() if value.dtype == torch.int64}
        model.load_state_dict(given | kept, strict=True)
        return shapes, run(model, case).numpy()

    return make


def of_transformers(
    build: Callable[[], torch.nn.Module], read: Callable[[Any], torch.Tensor] = lambda out: out.logits
) -> Callable[[SourceCase], Made]:
    """A file as `save_pretrained` writes it, and the logits of `from_pretrained`."""

    def make(case: SourceCase) -> Made:
        model = build()
        with tempfile.TemporaryDirectory() as folder:
            model.save_pretrained(folder)
            path = Path(folder) / "model.safetensors"
            with safe_open(path, "numpy") as file:
                shapes = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
            save_file(weights(shapes, case.gain), path, {"format": "pt"})
            loaded, told = type(model).from_pretrained(folder, output_loading_info=True)
        assert not any(told[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")), told
        return shapes, read(run(loaded, case)).numpy()

    return make


def of_transformers_module(
    build: Callable[[], torch.nn.Module], read: Callable[[Any], torch.Tensor] = lambda out: out.logits
) -> Callable[[SourceCase], Made]:
    """The state dict of a module of release 5, whose names are not those of its files."""

    def make(case: SourceCase) -> Made:
        model = build()
        return fill(model, case.gain), read(run(model, case)).numpy()

    return make


def of_timm(
    rename: Callable[[str, tuple[int, ...]], tuple[str, tuple[int, ...]]],
    filter_fn: Callable[..., Any],
    extra: Shapes | None = None,
    name: str | None = None,
) -> Callable[[SourceCase], Made]:
    """A file in an author's names, as timm reads it; `rename` gives the author's name and shape for timm's."""

    def make(case: SourceCase) -> Made:
        model = timm.create_model(name or case.model, **case.options)
        shapes = dict(rename(key, tuple(value.shape)) for key, value in model.state_dict().items()) | (extra or {})
        shapes.pop("", None)
        given = {key: torch.from_numpy(value) for key, value in weights(shapes, case.gain).items()}
        model.load_state_dict(filter_fn(dict(given), model), strict=True)
        return shapes, run(model, case).numpy()

    return make


def of_timms_loader(
    rename: Callable[[str, tuple[int, ...]], tuple[str, tuple[int, ...]]],
) -> Callable[[SourceCase], Made]:
    """As `of_timm`, read from a file in the way that timm has for the model's name."""

    def make(case: SourceCase) -> Made:
        model = timm.create_model(case.model, **case.options)
        shapes = dict(rename(key, tuple(value.shape)) for key, value in model.state_dict().items())
        shapes.pop("", None)
        with tempfile.NamedTemporaryFile(suffix=".safetensors") as file:
            save_file(weights(shapes, case.gain), file.name)
            model = timm.create_model(case.model, True, pretrained_cfg_overlay={"file": file.name}, **case.options)
        return shapes, run(model, case).numpy()

    return make


def of_npz(shapes: Shapes) -> Callable[[SourceCase], Made]:
    """Google's file, as timm's `load_pretrained` reads it."""

    def make(case: SourceCase) -> Made:
        model = timm.create_model(case.model, **case.options)
        load_npz(model, weights(shapes, case.gain))
        return shapes, run(model, case).numpy()

    return make


def load_npz(model: Any, arrays: dict[str, np.ndarray]) -> None:
    with tempfile.NamedTemporaryFile(suffix=".npz") as file:
        np.savez(file, **arrays)
        file.flush()
        model.load_pretrained(file.name)


_VIT = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
_HF_VIT = _VIT | {"intermediate_size": 32, "image_size": 32, "num_labels": 10, "layer_norm_eps": 1e-6}
_HF_DINOV2 = _VIT | {"mlp_ratio": 2, "image_size": 28, "patch_size": 14, "layer_norm_eps": 1e-6}
_HF_GATED = _HF_DINOV2 | {"mlp_ratio": 4, "use_swiglu_ffn": True}
_HF_SWIN = {
    "image_size": 32,
    "patch_size": 4,
    "embed_dim": 8,
    "depths": [2, 2],
    "num_heads": [1, 2],
    "window_size": 4,
    "num_labels": 10,
}
_HF_RESNET = {"embedding_size": 64, "depths": [1, 2], "num_labels": 10}


def hf_vit() -> torch.nn.Module:
    return transformers.ViTForImageClassification(transformers.ViTConfig(**_HF_VIT))


def hf_deit() -> torch.nn.Module:
    return transformers.DeiTForImageClassificationWithTeacher(transformers.DeiTConfig(**_HF_VIT))


def hf_dinov2_reg() -> torch.nn.Module:
    config = transformers.Dinov2WithRegistersConfig(**_HF_GATED)
    return transformers.Dinov2WithRegistersModel(config)


def hf_swin() -> torch.nn.Module:
    return transformers.SwinForImageClassification(transformers.SwinConfig(**_HF_SWIN))


def hf_efficientnet() -> torch.nn.Module:
    config = transformers.EfficientNetConfig(
        width_coefficient=0.25,
        depth_coefficient=1.0,
        hidden_dim=320,
        kernel_sizes=[3, 5],
        in_channels=[32, 64],
        out_channels=[64, 96],
        strides=[1, 2],
        num_block_repeats=[1, 2],
        expand_ratios=[1, 6],
        num_labels=10,
    )
    return transformers.EfficientNetForImageClassification(config)


def hf_resnet(layer_type: str) -> torch.nn.Module:
    sizes = [16, 32] if layer_type == "basic" else [64, 128]
    config = transformers.ResNetConfig(**_HF_RESNET, hidden_sizes=sizes, layer_type=layer_type)
    return transformers.ResNetForImageClassification(config)


def class_token(out: Any) -> torch.Tensor:
    return out.last_hidden_state[:, 0]


def hf_swin_v2() -> torch.nn.Module:
    return transformers.Swinv2ForImageClassification(transformers.Swinv2Config(**_HF_SWIN))


def tv_swin_v2() -> torch.nn.Module:
    v2 = {"block": SwinTransformerBlockV2, "downsample_layer": PatchMergingV2}
    return SwinTransformer([4, 4], 8, [2, 2], [1, 2], [4, 4], num_classes=10, **v2)


def tv_efficientnet() -> torch.nn.Module:
    scaled = {"width_mult": 0.25}
    stages = [MBConvConfig(1, 3, 1, 32, 64, 1, **scaled), MBConvConfig(6, 5, 2, 64, 96, 2, **scaled)]
    return EfficientNet(stages, 0.0, last_channel=320, num_classes=10)


def tv_efficientnetv2() -> torch.nn.Module:
    stages = [
        FusedMBConvConfig(1, 3, 1, 8, 8, 1),
        FusedMBConvConfig(4, 3, 2, 8, 16, 1),
        MBConvConfig(4, 3, 2, 16, 24, 2),
    ]
    return EfficientNet(
        stages, 0.0, last_channel=32, num_classes=10, norm_layer=partial(torch.nn.BatchNorm2d, eps=1e-3)
    )


def tv_vit() -> torch.nn.Module:
    return VisionTransformer(32, 16, 2, 2, 16, 32, num_classes=10)


def published(name: str) -> str:
    """The names of torchvision's files, which are older than its modules'."""
    return name.replace("mlp.0.", "mlp.linear_1.").replace("mlp.3.", "mlp.linear_2.")


def same(name: str, shape: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
    return name, shape


def microsoft(name: str, shape: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
    name = re.sub(r"layers\.(\d)\.downsample", lambda match: f"layers.{int(match[1]) - 1}.downsample", name)
    return name.replace("head.fc.", "head."), shape


def deit3(name: str, shape: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
    return re.sub(r"ls(\d)\.gamma", r"gamma_\1", name), shape


def dinov2(name: str, shape: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
    name = name.replace("mlp.fc1", "mlp.w12").replace("mlp.fc2", "mlp.w3").replace("reg_token", "register_tokens")
    return name, (1, shape[1] + 1, shape[2]) if name == "pos_embed" else shape


def clip(name: str, shape: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
    """OpenAI's names; the bias of the head has none."""
    if name == "head.bias":
        return "", ()
    if name == "head.weight":
        return "visual.proj", shape[::-1]
    if name in ("cls_token", "pos_embed"):
        theirs = {"cls_token": "class_embedding", "pos_embed": "positional_embedding"}[name]
        return f"visual.{theirs}", shape[2:] if name == "cls_token" else shape[1:]
    for ours, theirs in (
        *(("patch_embed.proj", "conv1"), ("norm_pre", "ln_pre"), ("attn.proj", "attn.out_proj")),
        *(("attn.qkv.", "attn.in_proj_"), ("mlp.fc1", "mlp.c_fc"), ("mlp.fc2", "mlp.c_proj")),
        *(("blocks.", "transformer.resblocks."), (".norm1", ".ln_1"), (".norm2", ".ln_2")),
    ):
        name = name.replace(ours, theirs)
    return "visual." + re.sub(r"^norm\.", "ln_post.", name), shape


def trunk(name: str, shape: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
    """open_clip's names for an image tower of timm's with a projection behind it."""
    if name.startswith("head."):
        return ("", ()) if name == "head.bias" else ("visual.head.proj.weight", shape)
    return f"visual.trunk.{name}", shape


def backbone(name: str, shape: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
    return f"backbone.{name}", shape


def without_backbone(state: dict[str, Any], _model: torch.nn.Module) -> dict[str, Any]:
    return {key.removeprefix("backbone."): value for key, value in state.items() if key.startswith("backbone.")}


def chunked(name: str, shape: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
    return name.replace("blocks.1.", "blocks.1.1.").replace("blocks.0.", "blocks.0.0."), shape


def without_chunks(state: dict[str, Any], model: torch.nn.Module) -> dict[str, Any]:
    return vit_filter({re.sub(r"blocks\.\d\.(\d)\.", r"blocks.\1.", key): value for key, value in state.items()}, model)


def without_decoder(state: dict[str, Any], model: torch.nn.Module) -> dict[str, Any]:
    return {k: v for k, v in vit_filter(state, model).items() if not k.startswith("decoder_")}


def of_bit(case: SourceCase) -> Made:
    """Google's file, as timm's `load_pretrained` reads it; timm's own small BiT has the depth of the large one."""
    conv = partial(StdConv2d, eps=1e-8)
    model = ResNetV2(**case.options, stem_type="fixed", conv_layer=conv)
    shapes = dict(bit(name, tuple(value.shape)) for name, value in model.state_dict().items())
    load_npz(model, weights(shapes, case.gain))
    return shapes, run(model, case).numpy()


def bit(name: str, shape: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
    """Google's name and layout for one of timm's."""
    layer, _, leaf = name.rpartition(".")
    if layer == "head.fc":
        return ("resnet/head/conv2d/bias", shape) if leaf == "bias" else ("resnet/head/conv2d/kernel", hwio(shape))
    path = "resnet/root_block" if layer == "stem.conv" else "resnet"
    if match := re.fullmatch(r"stages\.(\d)\.blocks\.(\d)\.(conv|norm|downsample\.conv)(\d?)", layer):
        stage, block, kind, number = match.groups()
        inside = "a/proj" if kind == "downsample.conv" else "abc"[int(number) - 1]
        path = f"resnet/block{int(stage) + 1}/unit{int(block) + 1:02d}/{inside}"
    if len(shape) == 4:
        return f"{path}/standardized_conv2d/kernel", hwio(shape)
    return f"{path}/group_norm/{'gamma' if leaf == 'weight' else 'beta'}", shape


def hwio(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*shape[2:], shape[1], shape[0])


def tipsv2(name: str, shape: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
    name, shape = dinov2(name.replace("mlp.fc", "mlp_fc"), shape)
    return f"vision_encoder.{name.replace('mlp_fc', 'mlp.fc')}", shape


def aimv2(name: str, shape: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
    """Apple's names."""
    if name.startswith("norm."):
        return f"trunk.post_trunk_{name}", shape
    name = name.replace("patch_embed.", "preprocessor.patchifier.").replace("pos_embed", "preprocessor.pos_embed")
    for ours, theirs in (("norm1", "norm_1"), ("norm2", "norm_2"), ("fc1_g", "fc1"), ("fc1_x", "fc3")):
        name = name.replace(f".{ours}.", f".{theirs}.")
    return name.replace("blocks.", "trunk.blocks."), shape


def radio(name: str, shape: tuple[int, ...], patches: int | None = None) -> tuple[str, tuple[int, ...]]:
    """NVIDIA's names; the tokens are one array, and the patch embedding is a linear layer without a bias.

    ``patches`` is the number of positions if it is not the model's.
    """
    model = "radio_model.model."
    if name == "patch_embed.proj.weight":
        return f"{model}patch_generator.embedder.weight", (shape[0], int(np.prod(shape[1:])))
    if name in ("patch_embed.proj.bias", "cls_token"):
        return "", ()
    if name == "reg_token":
        return f"{model}patch_generator.cls_token.token", (shape[1] + 1, shape[2])
    if name == "pos_embed":
        return f"{model}patch_generator.pos_embed", (1, patches or shape[1], shape[2])
    return model + name.replace(".gamma", ".grandma"), shape


def of_beit3(case: SourceCase) -> Made:
    """Microsoft's file, in which queries, keys and values are three layers."""
    model = timm.create_model(case.model, **case.options)
    shapes = dict(_BEIT3_REST)
    for name, value in model.state_dict().items():
        for key, shape in beit3(name, tuple(value.shape)):
            shapes[key] = shape
    given = {key: torch.from_numpy(value) for key, value in weights(shapes, case.gain).items()}
    model.load_state_dict(vit_filter(dict(given), model), strict=True)
    return shapes, run(model, case).numpy()


def beit3(name: str, shape: tuple[int, ...]) -> list[tuple[str, tuple[int, ...]]]:
    """Microsoft's names for one of timm's."""
    if name.startswith(("head.", "fc_norm.")):
        return [(name, shape)]
    if name == "pos_embed":
        return [("beit3.encoder.embed_positions.A.weight", (shape[1] + 2, shape[2]))]
    if not name.startswith("blocks."):
        return [(f"beit3.vision_embed.{name.removeprefix('patch_embed.')}", shape)]
    layers = {
        "norm1": "self_attn_layer_norm.A",
        "attn.norm": "self_attn.inner_attn_ln.A",
        "attn.proj": "self_attn.out_proj.A",
        "norm2": "final_layer_norm.A",
        "mlp.fc1": "ffn.A.fc1",
        "mlp.norm": "ffn.A.ffn_layernorm",
        "mlp.fc2": "ffn.A.fc2",
    }
    _, index, layer, leaf = re.fullmatch(r"(blocks)\.(\d+)\.(.+)\.(\w+)", name).groups()
    prefix = f"beit3.encoder.layers.{index}"
    if layer == "attn.qkv":
        return [(f"{prefix}.self_attn.{part}_proj.A.{leaf}", (shape[0] // 3, *shape[1:])) for part in "qkv"]
    return [(f"{prefix}.{layers[layer]}.{leaf}", shape)]


def google_vit(dim: int = 16, hidden: int = 32, heads: int = 2, depth: int = 2) -> Shapes:
    """An augreg file."""
    shapes: Shapes = {"cls": (1, 1, dim), "embedding/kernel": (16, 16, 3, dim), "embedding/bias": (dim,)}
    shapes |= {"Transformer/posembed_input/pos_embedding": (1, 5, dim), "head/kernel": (dim, 10), "head/bias": (10,)}
    shapes |= {f"Transformer/encoder_norm/{leaf}": (dim,) for leaf in ("scale", "bias")}
    for index in range(depth):
        block = _block(dim, hidden, heads, norm2="LayerNorm_2", mlp="MlpBlock_3", attention=1)
        shapes |= {f"Transformer/encoderblock_{index}/{name}": shape for name, shape in block.items()}
    return shapes


def google_siglip(dim: int = 16, hidden: int = 32, heads: int = 2, depth: int = 2) -> Shapes:
    """A file of big_vision with stacked blocks, pooling by attention and a text tower."""
    shapes: Shapes = {"embedding/kernel": (16, 16, 3, dim), "embedding/bias": (dim,), "pos_embedding": (1, 4, dim)}
    shapes |= {f"Transformer/encoder_norm/{leaf}": (dim,) for leaf in ("scale", "bias")}
    block = _block(dim, hidden, heads, norm2="LayerNorm_1", mlp="MlpBlock_0", attention=0)
    shapes |= {f"Transformer/encoderblock/{name}": (depth, *shape) for name, shape in block.items()}
    pool = {name: shape for name, shape in block.items() if not name.startswith("LayerNorm_1")}
    shapes |= {f"MAPHead_0/{name}": shape for name, shape in pool.items()} | {"MAPHead_0/probe": (1, 1, dim)}
    image = {f"params/img/{name}": shape for name, shape in shapes.items()}
    return image | {"params/txt/head/kernel": (4, 4), "params/t": (1,), "params/b": (1,)}


def _block(dim: int, hidden: int, heads: int, *, norm2: str, mlp: str, attention: int) -> Shapes:
    attend = f"MultiHeadDotProductAttention_{attention}"
    shapes: Shapes = {f"{norm}/{leaf}": (dim,) for norm in ("LayerNorm_0", norm2) for leaf in ("scale", "bias")}
    for name in ("query", "key", "value"):
        shapes |= {
            f"{attend}/{name}/kernel": (dim, heads, dim // heads),
            f"{attend}/{name}/bias": (heads, dim // heads),
        }
    shapes |= {f"{attend}/out/kernel": (heads, dim // heads, dim), f"{attend}/out/bias": (dim,)}
    shapes |= {f"{mlp}/Dense_0/kernel": (dim, hidden), f"{mlp}/Dense_0/bias": (hidden,)}
    return shapes | {f"{mlp}/Dense_1/kernel": (hidden, dim), f"{mlp}/Dense_1/bias": (dim,)}


_TEXT = {"token_embedding.weight": (6, 4), "positional_embedding": (3, 4), "text_projection": (4, 10)}
_CLIP_TEXT = _TEXT | {"logit_scale": (1,), "ln_final.bias": (4,), "transformer.resblocks.0.ln_1.weight": (4,)}
_OPEN_CLIP_TEXT = {"text.token_embedding.weight": (6, 4), "logit_scale": (1,)}
_DECODER = {"mask_token": (1, 1, 8), "decoder_embed.weight": (8, 16), "decoder_pos_embed": (1, 5, 8)}
_DINO_HEAD = {"head.mlp.0.weight": (8, 16), "head.last_layer.weight_v": (5, 8)}
_MASK = {"mask_token": (1, 16)}
_TIPSV2_REST = {"vision_encoder.mask_token": (1, 16), "text_encoder.token_embedding.weight": (6, 4)}
_SWIN_BUFFERS = {"layers.0.blocks.1.attn_mask": (4, 16, 16), "layers.0.blocks.0.attn.relative_position_index": (16, 16)}
_SWIN_V2_BUFFERS = {"layers.0.blocks.0.attn.relative_coords_table": (1, 7, 7, 2)}
_RADIO_REST = {"radio_model.input_conditioner.norm_mean": (3, 1, 1), "radio_model.summary_idxs": (2,)}
_BEIT3_REST = {
    "beit3.text_embed.weight": (6, 16),
    "beit3.vision_embed.mask_token": (1, 1, 16),
    "beit3.encoder.embed_positions.B.weight": (6, 16),
    "beit3.encoder.layers.0.ffn.B.fc1.weight": (32, 16),
}

MAKERS: dict[str, Callable[[SourceCase], Made]] = {
    "torchvision_vit": of_module(tv_vit),
    "torchvision_vit_file": of_module(tv_vit, published),
    "torchvision_swin": of_module(lambda: SwinTransformer([4, 4], 8, [2, 2], [1, 2], [4, 4], num_classes=10)),
    "torchvision_swin_v2": of_module(tv_swin_v2),
    "torchvision_efficientnet": of_module(tv_efficientnet),
    "torchvision_efficientnetv2": of_module(tv_efficientnetv2),
    "transformers_vit": of_transformers(hf_vit),
    "transformers_vit_module": of_transformers_module(hf_vit),
    "transformers_vit_backbone": of_transformers(
        lambda: transformers.ViTModel(transformers.ViTConfig(**_HF_VIT)), class_token
    ),
    "transformers_deit": of_transformers(hf_deit),
    "transformers_deit_module": of_transformers_module(hf_deit),
    "transformers_dinov2": of_transformers(
        lambda: transformers.Dinov2Model(transformers.Dinov2Config(**_HF_DINOV2)), class_token
    ),
    "transformers_dinov2_reg": of_transformers(hf_dinov2_reg, class_token),
    "transformers_dinov2_reg_module": of_transformers_module(hf_dinov2_reg, class_token),
    "transformers_swin": of_transformers(hf_swin),
    "transformers_swin_module": of_transformers_module(hf_swin),
    "transformers_swin_v2": of_transformers(hf_swin_v2),
    "transformers_efficientnet": of_transformers(hf_efficientnet),
    "transformers_resnet": of_transformers(lambda: hf_resnet("bottleneck")),
    "transformers_resnet_basic": of_transformers(lambda: hf_resnet("basic")),
    "google_vit": of_npz(google_vit()),
    "google_siglip": of_npz(google_siglip()),
    "google_bit": of_bit,
    "microsoft_swin": of_timm(microsoft, swin_filter, _SWIN_BUFFERS),
    "microsoft_swin_v2": of_timm(microsoft, swin_v2_filter, _SWIN_BUFFERS | _SWIN_V2_BUFFERS),
    "deit3": of_timm(deit3, lambda state, model: deit_filter(state, model, adapt_layer_scale=True)),
    "dino": of_timm(backbone, without_backbone, _DINO_HEAD),
    "dinov2": of_timm(dinov2, vit_filter, _MASK),
    "dinov2_chunked": of_timm(chunked, without_chunks, _MASK),
    "tipsv2": of_timm(tipsv2, vit_filter, _TIPSV2_REST),
    "mae": of_timm(same, without_decoder, _DECODER),
    "openai_clip": of_timm(clip, vit_filter, _CLIP_TEXT),
    "open_clip": of_timm(trunk, vit_filter, _OPEN_CLIP_TEXT),
    "aimv2": of_timm(aimv2, vit_filter),
    "beit3": of_beit3,
    "radio": of_timm(radio, vit_filter, _RADIO_REST),
    "google_vit_resized": of_npz(google_vit(depth=1)),
    "radio_wide": of_timms_loader(partial(radio, patches=64)),
    "radio_tall": of_timms_loader(partial(radio, patches=9)),
}


def main() -> None:
    """Makes every case."""
    made: dict[str, np.ndarray] = {}
    for case in (*CASES, *RESIZED):
        shapes, logits = MAKERS[case.id](case)
        made[f"{case.id}/keys"] = np.frombuffer(zlib.compress(json.dumps(shapes).encode(), 9), np.uint8)
        made[f"{case.id}/logits"] = logits
        print(
            f"{case.id:32s} {len(shapes):4d} keys, logits {logits.shape}, std {logits.std():.3f}, "
            f"between images {np.ptp(logits, axis=0).max():.4f}"
        )
    np.savez_compressed(DATA, **made)
    print(
        f"timm {timm.__version__}, torch {torch.__version__}, torchvision {torchvision.__version__}, "
        f"transformers {transformers.__version__}: {DATA.stat().st_size} bytes"
    )


if __name__ == "__main__":
    main()
