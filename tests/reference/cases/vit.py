"""Golden vectors of the ViT family."""

from typing import Any

from tests.reference.cases.case import Case

_SMALL = {"embed_dim": 48, "depth": 3, "num_heads": 4}


def _vit(name: str, model: str, size: tuple[int, int] = (64, 64), **options: Any) -> Case:
    return Case(name, model, size, {**_SMALL, **options}, in_model=True)


CASES: tuple[Case, ...] = (
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
)
