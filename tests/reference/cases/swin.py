"""Golden vectors of the Swin family."""

from tests.reference.cases.case import Case

_SMALL = {"embed_dim": 24, "depths": (2, 2, 4, 2), "num_heads": (2, 3, 4, 8)}
_TWO = {"embed_dim": 24, "depths": (2, 2), "num_heads": (2, 3), "num_classes": 10}

CASES: tuple[Case, ...] = (
    Case("swin_tiny", "swin_tiny_patch4_window7_224", (224, 224)),
    Case("swin_padded", "swin_tiny_patch4_window7_224", (100, 132), _SMALL, in_model=True),
    Case("swin_window12", "swin_base_patch4_window12_384", (192, 192), _SMALL, in_model=True),
    Case("swin_s3", "swin_s3_tiny_224", (224, 224), _SMALL),
    Case("swin_odd", "swin_tiny_patch4_window7_224", (91, 134), {**_TWO, "always_partition": True}, in_model=True),
    Case(
        "swin_loaded_not_square",
        "swin_tiny_patch4_window7_224",
        (64, 96),
        {**_TWO, "window_size": (5, 8)},
        in_model=True,
        loaded=_TWO,
    ),
    Case(
        "swin_loaded_larger",
        "swin_tiny_patch4_window7_224",
        (192, 160),
        {**_TWO, "window_size": ((12, 9), 4), "patch_size": 8},
        in_model=True,
        loaded=_TWO,
    ),
)
