"""Golden vectors of the EfficientNet family."""

from typing import Any

from tests.reference.cases.case import Case


def _few(model: str, size: tuple[int, int] = (64, 64), *, gain: float = 1.4, **options: Any) -> Case:
    return Case(model, model, size, {"num_classes": 10, **options}, gain=gain)


CASES: tuple[Case, ...] = (
    Case("efficientnet_b0", "efficientnet_b0", (64, 64), gain=1.6),
    Case("efficientnet_b0_odd", "efficientnet_b0", (75, 65), gain=1.6),
    Case("tf_efficientnet_b0", "tf_efficientnet_b0", (64, 64), gain=1.6),
    Case("tf_efficientnet_b0_odd", "tf_efficientnet_b0", (75, 65), gain=1.6),
    Case("efficientnet_lite0", "efficientnet_lite0", (64, 64), gain=1.3),
    Case("tf_efficientnet_lite0", "tf_efficientnet_lite0", (64, 64), gain=1.3),
    Case("efficientnetv2_rw_t", "efficientnetv2_rw_t", (64, 64), gain=1.2),
    Case("tf_efficientnetv2_b0", "tf_efficientnetv2_b0", (64, 64), gain=1.4),
    Case("tf_efficientnetv2_s", "tf_efficientnetv2_s", (64, 64), gain=1.2),
    _few("test_efficientnet_gn"),
    _few("test_efficientnet_ln"),
    _few("test_efficientnet_evos"),
    _few("efficientnet_b0_g8_gn"),
    _few("efficientnet_b1_pruned", (64, 75), gain=1.5),
    _few("efficientnet_blur_b0", (75, 65), gain=1.62),
    _few("tf_efficientnet_cc_b0_4e", (75, 65), gain=1.62),
    _few("tf_efficientnet_es", (65, 64), gain=1.2),
    _few("efficientnet_x_b3", (64, 65), gain=1.5),
    _few("gc_efficientnetv2_rw_t", gain=1.25),
    _few("tf_mixnet_s", (75, 65)),
    _few("mixnet_s", (64, 75)),
    _few("mobilenetv1_100", gain=1.7),
    _few("mobilenet_edgetpu_v2_xs", gain=1.2),
    _few("fbnetc_100", gain=1.25, bn_eps=1e-3),
    _few("tinynet_e", gain=1.7),
)
