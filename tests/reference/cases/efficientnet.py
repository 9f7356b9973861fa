"""Golden vectors of the EfficientNet family."""

from typing import Any

from tests.reference.cases.case import Case


def _few(
    model: str, size: tuple[int, int] = (64, 64), *, gain: float = 1.4, name: str | None = None, **options: Any
) -> Case:
    return Case(name or model, model, size, {"num_classes": 10, **options}, gain=gain)


CASES: tuple[Case, ...] = (
    Case("efficientnet_b0", "efficientnet_b0", (64, 64), gain=1.6),
    Case("tf_efficientnet_b0_odd", "tf_efficientnet_b0", (75, 65), gain=1.6),
    Case("efficientnet_lite0", "efficientnet_lite0", (64, 64), gain=1.3),
    Case("tf_efficientnet_lite0", "tf_efficientnet_lite0", (64, 64), gain=1.3),
    Case("efficientnetv2_rw_t", "efficientnetv2_rw_t", (64, 64), gain=1.2),
    Case("tf_efficientnetv2_b0", "tf_efficientnetv2_b0", (64, 64), gain=1.4),
    Case("tf_efficientnetv2_s", "tf_efficientnetv2_s", (64, 64), gain=1.2),
    _few("test_efficientnet_gn"),
    _few("test_efficientnet_ln"),
    _few("test_efficientnet_evos"),
    _few("test_efficientnet", se_layer="gc", name="test_efficientnet_gc"),
    _few("test_efficientnet", (75, 65), gain=1.7, aa_layer="blurpc", name="test_efficientnet_blur"),
    _few("test_efficientnet", (75, 65), output_stride=8, name="test_efficientnet_dilated"),
    _few("tf_efficientnet_cc_b0_4e", (75, 65), gain=1.62),
    _few("tf_mixnet_s", (75, 65)),
    _few("mobilenetv1_100", gain=1.7),
    _few("tinynet_e", gain=1.7),
    _few("efficientnet_b1_pruned", gain=1.5),
)
