"""What the golden vectors cover: a timm architecture, options that both libraries take, and an image size."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Case:
    """One golden vector.

    Attributes:
        id: its name in the file.
        model: timm's architecture name.
        size: image height and width.
        options: keyword arguments of ``create_model``, the same for timm and jaxvision.
        in_model: whether the image size is an option of the model too.
        gain: of the weights of layers, so that logits depend on the image and not only on biases.
    """

    id: str
    model: str
    size: tuple[int, int]
    options: dict[str, Any] = field(default_factory=dict)
    in_model: bool = False
    gain: float = 1.0


_SMALL_VIT = {"embed_dim": 48, "depth": 3, "num_heads": 4}
_SMALL_SWIN = {"embed_dim": 24, "depths": (2, 2, 4, 2), "num_heads": (2, 3, 4, 8)}


def _vit(name: str, model: str, size: tuple[int, int] = (64, 64), **options: Any) -> Case:
    return Case(name, model, size, {**_SMALL_VIT, **options}, in_model=True)


CASES = (
    Case("vit_tiny", "vit_tiny_patch16_224", (224, 224)),
    _vit("vit_not_square", "vit_small_patch16_224", (64, 96)),
    _vit("vit_avg", "vit_base_patch16_gap_224", num_heads=4),
    _vit("vit_avg_fc_norm", "vit_small_patch16_224", global_pool="avg"),
    _vit("vit_qk_norm", "vit_small_patch16_224", qk_norm=True),
    _vit("vit_map", "vit_base_patch16_siglip_224"),
    _vit("vit_registers", "vit_small_patch14_reg4_dinov2", (70, 70)),
    _vit("vit_swiglu", "vit_giant_patch14_dinov2", (70, 70), num_classes=10),
    _vit("vit_clip", "vit_base_patch16_clip_224"),
    _vit("vit_clip_quickgelu", "vit_base_patch16_clip_quickgelu_224"),
    _vit("deit_distilled", "deit_small_distilled_patch16_224"),
    _vit("deit3", "deit3_small_patch16_224"),
    Case("swin_tiny", "swin_tiny_patch4_window7_224", (224, 224)),
    Case("swin_padded", "swin_tiny_patch4_window7_224", (100, 132), _SMALL_SWIN, in_model=True),
    Case("swin_window12", "swin_base_patch4_window12_384", (192, 192), _SMALL_SWIN, in_model=True),
    Case("swin_s3", "swin_s3_tiny_224", (224, 224), _SMALL_SWIN),
    Case("efficientnet_b0", "efficientnet_b0", (64, 64), gain=1.6),
    Case("efficientnet_b0_odd", "efficientnet_b0", (75, 65), gain=1.6),
    Case("tf_efficientnet_b0", "tf_efficientnet_b0", (64, 64), gain=1.6),
    Case("tf_efficientnet_b0_odd", "tf_efficientnet_b0", (75, 65), gain=1.6),
    Case("efficientnet_lite0", "efficientnet_lite0", (64, 64), gain=1.3),
    Case("tf_efficientnet_lite0", "tf_efficientnet_lite0", (64, 64), gain=1.3),
    Case("efficientnetv2_rw_t", "efficientnetv2_rw_t", (64, 64), gain=1.2),
    Case("tf_efficientnetv2_b0", "tf_efficientnetv2_b0", (64, 64), gain=1.4),
    Case("tf_efficientnetv2_s", "tf_efficientnetv2_s", (64, 64), gain=1.2),
    Case("resnet18", "resnet18", (64, 64)),
    Case("resnet18_odd", "resnet18", (75, 65)),
    Case("resnet50", "resnet50", (64, 64)),
    Case("resnet50_dilated", "resnet50", (64, 64), {"output_stride": 8}),
    Case("resnet26t", "resnet26t", (64, 64), gain=1.2),
    Case("resnet50d_odd", "resnet50d", (75, 65)),
    Case("resnet50s", "resnet50s", (64, 64), gain=1.2),
    Case("resnext50", "resnext50_32x4d", (64, 64)),
    Case("wide_resnet50", "wide_resnet50_2", (64, 64)),
    Case("seresnet18", "seresnet18", (64, 64)),
    Case("seresnext26d", "seresnext26d_32x4d", (64, 64), gain=1.2),
    Case("resnetaa34d", "resnetaa34d", (64, 64), gain=1.2),
    Case("resnetrs50", "resnetrs50", (64, 64), gain=1.2),
)

# Old grid, new grid, prefix tokens.
POSITIONS = (((14, 14), (24, 24), 1), ((14, 14), (7, 7), 1), ((14, 14), (10, 12), 2), ((6, 8), (9, 4), 0))
# Old window, new window.
WINDOWS = (((7, 7), (12, 12)), ((12, 12), (7, 7)), ((7, 7), (5, 6)))
