"""Golden vectors of the Swin V2 family."""

from tests.reference.cases.case import Case

_SMALL = {"embed_dim": 24, "depths": (2, 2, 2, 2), "num_heads": (2, 3, 4, 8), "num_classes": 10}
_TWO = {"embed_dim": 24, "depths": (2, 2), "num_heads": (2, 3), "num_classes": 10}

CASES: tuple[Case, ...] = (
    Case("swinv2_pretrained_window", "swinv2_base_window12to16_192to256", (256, 256), _SMALL),
    Case("swinv2_padded", "swinv2_tiny_window8_256", (91, 134), _TWO, in_model=True),
    Case(
        "swinv2_always_partition",
        "swinv2_tiny_window16_256",
        (72, 90),
        {**_TWO, "window_size": ((8, 6), 12), "always_partition": True, "qkv_bias": False},
        in_model=True,
    ),
    Case(
        "swinv2_loaded",
        "swinv2_tiny_window8_256",
        (128, 72),
        {**_TWO, "window_size": (12, 10)},
        in_model=True,
        loaded=_TWO,
    ),
)
