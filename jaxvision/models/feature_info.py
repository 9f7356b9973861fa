"""What feature maps a network gives: for each its place, its channels and how much smaller than the image it is."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple


class FeatureLevel(NamedTuple):
    """One feature map.

    Attributes:
        module: timm's name of what gives it, such as ``"layer3"``, a path in the model but for the activation of a stem
            (``"act1"``, ``"bn1"``), which is no module here.
        num_chs: its channels.
        reduction: pixels of the image per step of the map.
    """

    module: str
    num_chs: int
    reduction: int


class FeatureInfo(tuple[FeatureLevel, ...]):
    """The feature maps of a network from large to small, asked as timm's class of this name is."""

    def __new__(cls, levels: Iterable[FeatureLevel] = ()) -> "FeatureInfo":
        """The levels in order."""
        return super().__new__(cls, levels)

    def channels(self) -> list[int]:
        """Channels of each map."""
        return [level.num_chs for level in self]

    def reduction(self) -> list[int]:
        """Pixels of the image per step of each map."""
        return [level.reduction for level in self]

    def module_name(self) -> list[str]:
        """The name in timm of the module that gives each map."""
        return [level.module for level in self]


def take_indices(count: int, indices: int | Sequence[int] | None) -> tuple[int, ...]:
    """Which of ``count`` feature maps are meant, in order.

    Args:
        count: how many there are.
        indices: positions, negative ones from the end; a number for so many of the last; None for all.

    Raises:
        ValueError: there is no such map, or none is asked for.
    """
    if indices is None:
        return tuple(range(count))
    if isinstance(indices, int):
        if not 1 <= indices <= count:
            raise ValueError(f"there are {count} feature maps: ask for the last 1 to {count}, not {indices}")
        return tuple(range(count - indices, count))
    wrong = [index for index in indices if not -count <= index < count]
    if wrong or not indices:
        raise ValueError(
            f"there are {count} feature maps, 0 to {count - 1} (or -{count} to -1 from the end); got {tuple(indices)}"
        )
    return tuple(sorted({index % count for index in indices}))
