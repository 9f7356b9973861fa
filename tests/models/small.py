"""One model of every class, made small by options that have nothing to do with heads and feature maps."""

from jaxvision.models.efficientnet import Stage

SMALL = {
    "vit_tiny_patch16_224": {"img_size": 32, "embed_dim": 16, "depth": 4, "num_heads": 2},
    "deit_tiny_distilled_patch16_224": {"img_size": 32, "embed_dim": 16, "depth": 2, "num_heads": 2},
    "swin_tiny_patch4_window7_224": {"img_size": 32, "embed_dim": 8, "depths": (1, 1), "num_heads": (2, 2)},
    "swinv2_tiny_window8_256": {"img_size": 32, "embed_dim": 8, "depths": (1, 1), "num_heads": (2, 2)},
    "efficientnet_b0": {
        "width": 0.25,
        "head_size": 64,
        "stages": (
            Stage("separable", 1, 3, 1, 1, 32),
            Stage("mbconv", 1, 3, 2, 2, 48),
            Stage("mbconv", 1, 3, 1, 2, 48),
            Stage("mbconv", 1, 3, 2, 2, 64),
        ),
    },
    "resnet18": {"layers": (1, 1), "channels": (8, 16)},
    "resnetv2_18": {"layers": (1, 1), "channels": (8, 16), "stem_chs": 8},
}
