"""Golden vectors of the EfficientNet family."""

from tests.reference.cases.case import Case

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
)
