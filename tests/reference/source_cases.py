"""Small networks in every naming of weights; make_source_keys.py keeps their keys, shapes and logits in sources.npz."""

import json
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from jaxvision.models.efficientnet import Stage
from tests.reference.synthetic import state_dict

DATA = Path(__file__).with_name("sources.npz")
_BUFFERS = ("num_batches_tracked", "relative_position_index", "relative_coords_table", "attn_mask")


@dataclass(frozen=True)
class SourceCase:
    """One file of weights, and the model here that takes it.

    Attributes:
        id: its name.
        format: the source that must recognise it.
        model: the architecture here, made small by
        options: of `create_model`.
        size: height and width of the images.
        gain: of its synthetic weights, so that the logits depend on the image.
    """

    id: str
    format: str
    model: str
    options: dict[str, Any] = field(default_factory=dict)
    size: tuple[int, int] = (32, 32)
    gain: float = 1.0


def weights(shapes: dict[str, tuple[int, ...]], gain: float = 1.0) -> dict[str, np.ndarray]:
    """The arrays of a file by their keys and shapes."""
    buffers = {key for key in shapes if key.rpartition(".")[2] in _BUFFERS}
    made = state_dict({key: shape for key, shape in shapes.items() if key not in buffers}, gain)
    return {key: np.zeros(shapes[key], np.int64) if key in buffers else made[key] for key in shapes}


def read(case: SourceCase) -> tuple[dict[str, tuple[int, ...]], np.ndarray]:
    """Keys with their shapes, and the logits of two images."""
    with np.load(DATA) as file:
        keys = json.loads(zlib.decompress(file[f"{case.id}/keys"].tobytes()))
        return {key: tuple(shape) for key, shape in keys.items()}, file[f"{case.id}/logits"]


_VIT = {"img_size": 32, "embed_dim": 16, "depth": 2, "num_heads": 2, "mlp_ratio": 2, "num_classes": 10}
_VIT_FEATURES = _VIT | {"num_classes": 0}
_DINOV2 = _VIT_FEATURES | {"img_size": 28}
_GATED = _DINOV2 | {"mlp_ratio": 6}
_SWIN = {"img_size": 32, "embed_dim": 8, "depths": (2, 2), "num_heads": (1, 2), "window_size": 4, "num_classes": 10}
_AIMV2 = _VIT_FEATURES | {"img_size": 28, "mlp_ratio": 2.75}
_RADIO = _VIT_FEATURES | {"init_values": 1e-5}
_STAGES = (Stage("separable", 1, 3, 1, 1, 64, 0.25), Stage("mbconv", 2, 5, 2, 6, 96, 0.25))
_EFFICIENTNET = {"stages": _STAGES, "width": 0.25, "num_classes": 10}
_V2_STAGES = (Stage("conv", 1, 3, 1, 1, 8), Stage("fused", 1, 3, 2, 4, 16), Stage("mbconv", 2, 3, 2, 4, 24, 0.25))
_V2 = {"stages": _V2_STAGES, "stem_size": 8, "head_size": 32, "bn_eps": 1e-3, "num_classes": 10}
_RESNET = {"layers": (1, 2), "channels": (16, 32), "num_classes": 10}
_BIT = {"layers": (1, 2), "channels": (128, 256), "num_classes": 10}

CASES = (
    SourceCase("torchvision_vit", "torchvision", "vit_tiny_patch16_224", _VIT),
    SourceCase("torchvision_vit_file", "torchvision", "vit_tiny_patch16_224", _VIT),
    SourceCase("torchvision_swin", "torchvision", "swin_tiny_patch4_window7_224", _SWIN),
    SourceCase("torchvision_swin_v2", "torchvision", "swinv2_tiny_window8_256", _SWIN),
    SourceCase("torchvision_efficientnet", "torchvision", "efficientnet_b0", _EFFICIENTNET, gain=1.4),
    SourceCase("torchvision_efficientnetv2", "torchvision", "efficientnetv2_s", _V2, gain=1.4),
    SourceCase("transformers_vit", "transformers", "vit_tiny_patch16_224", _VIT),
    SourceCase("transformers_vit_module", "transformers", "vit_tiny_patch16_224", _VIT),
    SourceCase("transformers_vit_backbone", "transformers", "vit_tiny_patch16_224", _VIT_FEATURES),
    SourceCase("transformers_deit", "transformers", "deit_tiny_distilled_patch16_224", _VIT),
    SourceCase("transformers_deit_module", "transformers", "deit_tiny_distilled_patch16_224", _VIT),
    SourceCase("transformers_dinov2", "transformers", "vit_small_patch14_dinov2", _DINOV2, (28, 28)),
    SourceCase("transformers_dinov2_reg", "transformers", "vit_giant_patch14_reg4_dinov2", _GATED, (28, 28)),
    SourceCase("transformers_dinov2_reg_module", "transformers", "vit_giant_patch14_reg4_dinov2", _GATED, (28, 28)),
    SourceCase("transformers_swin", "transformers", "swin_tiny_patch4_window7_224", _SWIN),
    SourceCase("transformers_swin_module", "transformers", "swin_tiny_patch4_window7_224", _SWIN),
    SourceCase("transformers_swin_v2", "transformers", "swinv2_tiny_window8_256", _SWIN),
    SourceCase("transformers_efficientnet", "transformers", "tf_efficientnet_b0", _EFFICIENTNET, gain=2.0),
    SourceCase("transformers_resnet", "transformers", "resnet50", _RESNET),
    SourceCase("transformers_resnet_basic", "transformers", "resnet18", _RESNET),
    SourceCase("google_vit", "google_vit", "vit_tiny_patch16_224", _VIT),
    SourceCase("google_siglip", "google_vit", "vit_base_patch16_siglip_224", _VIT_FEATURES),
    SourceCase("google_bit", "google_bit", "resnetv2_50x1_bit", _BIT),
    SourceCase("microsoft_swin", "microsoft_swin", "swin_tiny_patch4_window7_224", _SWIN),
    SourceCase("microsoft_swin_v2", "microsoft_swin", "swinv2_tiny_window8_256", _SWIN),
    SourceCase("deit3", "deit3", "deit3_small_patch16_224", _VIT),
    SourceCase("dino", "dino", "vit_tiny_patch16_224", _VIT_FEATURES),
    SourceCase("dinov2", "dinov2", "vit_giant_patch14_reg4_dinov2", _GATED, (28, 28)),
    SourceCase("dinov2_chunked", "dinov2", "vit_small_patch14_dinov2", _DINOV2, (28, 28)),
    SourceCase("tipsv2", "dinov2", "vit_base_patch14_reg1_tipsv2", _DINOV2, (28, 28)),
    SourceCase("mae", "mae", "vit_tiny_patch16_224", _VIT_FEATURES),
    SourceCase("openai_clip", "openai_clip", "vit_base_patch16_clip_224", _VIT),
    SourceCase("open_clip", "open_clip", "vit_base_patch16_clip_224", _VIT),
    SourceCase("aimv2", "aimv2", "aimv2_large_patch14_224", _AIMV2, (28, 28)),
    SourceCase("beit3", "beit3", "beit3_base_patch16_224", _VIT),
    SourceCase("radio", "radio", "vit_base_patch16_radio_v3", _RADIO),
)

_SMALL_PATCHES = _VIT | {"depth": 1, "img_size": (24, 40), "patch_size": 8}
_WIDE, _TALL = (_RADIO | {"depth": 1, "img_size": size} for size in ((32, 64), (80, 48)))
RESIZED = (
    SourceCase("google_vit_resized", "google_vit", "vit_tiny_patch16_224", _SMALL_PATCHES, (24, 40)),
    SourceCase("radio_wide", "radio", "vit_base_patch16_radio_v3", _WIDE, (32, 64)),
    SourceCase("radio_tall", "radio", "vit_so400m_patch16_radio_v4", _TALL, (80, 48)),
)
"""Files for images of another size, which timm does not fit as it does its own."""
