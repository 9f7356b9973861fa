"""How every architecture is compared with timm: at full structure where two cores can, with fewer blocks where not."""

from dataclasses import dataclass, field
from typing import Any

import jaxvision
from jaxvision.catalogue import ModelInfo
from jaxvision.registry import families

MOST_PARAMS = 150e6
"""Above it a network is compared with fewer blocks, if its family can be had with fewer."""
MOST_GMACS = 20
"""Above it a network whose parameters depend on the image size is compared on smaller images."""

# Fewer blocks for networks that differ from smaller ones in their numbers only: two of each kind where blocks differ.
_FEWER: dict[str, dict[str, Any]] = {
    "depth": {"depth": 2},
    "depths": {"depths": (2, 2, 2, 2)},
    "layers": {"layers": (1, 2, 1, 1)},
}
# But each option is to be had whole at least once. This one is as large as any that has them:
_WHOLE = ("aimv2_large_patch14_224",)
_WIDE_BIT = ("resnetv2_50x3_bit", "resnetv2_101x3_bit", "resnetv2_152x2_bit", "resnetv2_152x4_bit")
NARROW: dict[str, dict[str, Any]] = {
    "vit_giant_patch14_dinov2": {"embed_dim": 384, "num_heads": 6},
    **{name: {"channels": (128, 128, 256, 512)} for name in _WIDE_BIT},
}
"""All their blocks, fewer channels: the only ones with some option, and timm's BiTs, which take no ``layers``."""
# No side of the last maps is like another; 65 is odd all the way down, where SAME and symmetric padding part.
_SIZES = ((64, 96), (96, 64), (65, 97), (80, 64))
# The first is even all the way, as networks have to have it that average over 2x2 pixels in place of a stride.


@dataclass(frozen=True)
class Plan:
    """One comparison.

    Attributes:
        name: timm's name of the architecture.
        size: height and width of the images.
        options: for ``create_model`` of both libraries.
    """

    name: str
    size: tuple[int, int]
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def full(self) -> bool:
        """Whether it is compared as it is, but for the number of classes and the size of the images."""
        return self.structure == "full"

    @property
    def structure(self) -> str:
        """``"full"``, or what is reduced."""
        reduced = (f"{name} {value}" for name, value in self.options.items() if name not in ("num_classes", "img_size"))
        return ", ".join(reduced) or "full"


def plan(name: str) -> Plan:
    """The comparison of one architecture."""
    info, config = jaxvision.model_info(name), families()[name].variants[name]
    options: dict[str, Any] = {"num_classes": 10}
    if name == "fbnetc_100":
        options["bn_eps"] = config.bn_eps  # timm has the epsilon of its weights only where they are loaded
    # EfficientNet's depth is a factor, not a number of blocks.
    fewer = next((fewer for field, fewer in _FEWER.items() if not isinstance(getattr(config, field, 0.0), float)), {})
    if name in NARROW:
        options |= NARROW[name]
    elif info.num_params > MOST_PARAMS and name not in _WHOLE:
        options |= fewer
    if not hasattr(config, "img_size"):
        even = getattr(config, "anti_alias", None) == "avg"
        return Plan(name, _SIZES[0 if even else len(name) % len(_SIZES)], options)
    size = _size_of_transformer(info, config)
    return Plan(name, size, options | {"img_size": size})


def _size_of_transformer(info: ModelInfo, config: Any) -> tuple[int, int]:
    """A size that the parameters depend on: that of the weights where it is cheap."""
    _, height, width = info.input_size
    if hasattr(config, "window_size"):
        return (height, width) if info.gmacs < MOST_GMACS else (height // 2, width // 2)
    if info.gmacs < MOST_GMACS / 10:
        return height, width
    patch = config.patch_size if isinstance(config.patch_size, int) else config.patch_size[0]
    left_over = height % patch  # pixels that no patch sees
    return 4 * patch + left_over, 3 * patch + left_over
