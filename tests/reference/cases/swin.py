"""Golden vectors of the Swin family."""

from tests.reference.cases.case import Case

_SMALL = {"embed_dim": 24, "depths": (2, 2, 4, 2), "num_heads": (2, 3, 4, 8)}

CASES: tuple[Case, ...] = (
    Case("swin_tiny", "swin_tiny_patch4_window7_224", (224, 224)),
    Case("swin_padded", "swin_tiny_patch4_window7_224", (100, 132), _SMALL, in_model=True),
    Case("swin_window12", "swin_base_patch4_window12_384", (192, 192), _SMALL, in_model=True),
    Case("swin_s3", "swin_s3_tiny_224", (224, 224), _SMALL),
)
