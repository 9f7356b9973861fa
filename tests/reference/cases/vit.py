"""Golden vectors of the ViT family."""

from typing import Any

from tests.reference.cases.case import Case

_SMALL = {"embed_dim": 48, "depth": 2, "num_heads": 4, "num_classes": 10}


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
    _vit("vit_swiglu", "vit_giant_patch14_dinov2", (70, 70)),
    _vit("vit_clip", "vit_base_patch16_clip_224"),
    _vit("vit_clip_quickgelu", "vit_base_patch16_clip_quickgelu_224"),
    _vit("deit_distilled", "deit_small_distilled_patch16_224"),
    _vit("deit3", "deit3_small_patch16_224"),
    _vit("vit_odd", "vit_base_patch16_gap_224", (70, 90)),
    _vit("vit_padded", "vit_small_patch16_224", (70, 90), dynamic_img_size=True, dynamic_img_pad=True),
    _vit("vit_no_positions", "vit_small_patch16_224", pos_embed="none"),
    _vit("vit_prefix_embedded", "vit_so150m2_patch16_reg1_gap_256"),
    _vit("vit_map_with_prefix", "test_vit3"),
    _vit("vit_prr", "vit_small_patch16_224", global_pool="prr"),
    _vit("vit_prr_avg", "vit_base_patch16_siglip_gap_224", global_pool="prr"),
    _vit("vit_rms_norm", "test_vit4"),
    _vit("vit_no_final_norm", "vit_base_patch16_radio_v3"),
    _vit("vit_tanh", "vit_base_patch32_siglip_256"),
    _vit("vit_res_post", "vit_base_patch16_rpn_224"),
    _vit("vit_parallel_things", "vit_small_patch16_18x2_224"),
    _vit("vit_parallel_scaling", "vit_base_patch16_xp_224"),
    _vit("vit_parallel_scaling_bias", "vit_pwee_patch16_reg1_gap_256"),
    _vit("vit_diff", "vit_dlittle_patch16_reg1_gap_256"),
    _vit("vit_diff_norms", "vit_dwee_patch16_reg1_gap_256", qk_norm=True, scale_attn_norm=True),
    _vit("vit_diff_parallel_scaling", "vit_dpwee_patch16_reg1_gap_256"),
    _vit("aimv2", "aimv2_large_patch14_224", (70, 70)),
    _vit("aimv2_scaled", "aimv2_large_patch14_224", (70, 70), scale_mlp_norm=True, qk_norm=True),
    _vit("beit3", "beit3_base_patch16_224"),
    _vit("flexivit", "flexivit_small"),
)
