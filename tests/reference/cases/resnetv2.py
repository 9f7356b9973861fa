"""Golden vectors of the ResNet V2 family."""

from typing import Any

from tests.reference.cases.case import Case

_NARROW: dict[str, Any] = {"channels": (128, 128, 256, 256), "num_classes": 10}  # timm's BiT keeps its depth
_SMALL: dict[str, Any] = {**_NARROW, "layers": (1, 1, 1, 2)}

CASES: tuple[Case, ...] = (
    Case("resnetv2_18_odd", "resnetv2_18", (75, 65), _SMALL, gain=1.8),
    Case("resnetv2_50d_dilated", "resnetv2_50d", (64, 64), {**_SMALL, "output_stride": 8}, gain=1.8),
    Case("resnetv2_50t_odd", "resnetv2_50t", (75, 65), _SMALL, gain=1.8),
    Case("resnetv2_50x1_bit_odd", "resnetv2_50x1_bit", (75, 65), _NARROW),
    Case("resnetv2_50d_evos", "resnetv2_50d_evos", (64, 64), _SMALL),
    Case("resnetv2_50d_frn", "resnetv2_50d_frn", (64, 64), _SMALL),
)
