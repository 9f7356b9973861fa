"""What feature maps a network gives: for each its place, its channels and how much smaller than the image it is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple


class FeatureLevel(NamedTuple):
    """One feature map; its fields are also items by name, as in timm: ``level["num_chs"]``.

    Attributes:
        module: timm's name of what gives it, such as ``"layer3"``, a path in the model but for the activation of a stem
            (``"act1"``, ``"bn1"``), which is no module here.
        num_chs: its channels.
        reduction: pixels of the image per step of the map.
    """

    module: str
    num_chs: int
    reduction: int

    def __getitem__(self, item: Any) -> Any:
        """A field by its name or its position."""
        if not isinstance(item, str):
            return tuple.__getitem__(self, item)
        if item not in self._fields:
            raise KeyError(item)
        return getattr(self, item)


@dataclass(frozen=True)
class FeatureInfo(Sequence[FeatureLevel]):
    """The feature maps of a network from large to small, asked as timm's class of this name is.

    Its items are all maps that the network makes. The methods answer for those that it gives, in a list; for one map,
    given or not, if they are asked for its position; or for several, in a list.

    Attributes:
        info: all maps.
        out_indices: positions of those that are given.
    """

    info: tuple[FeatureLevel, ...]
    out_indices: tuple[int, ...]

    def __getitem__(self, item: Any) -> Any:
        """A map by its position, or several by a slice, of all."""
        return self.info[item]

    def __len__(self) -> int:
        """How many maps there are in all."""
        return len(self.info)

    def get(self, key: str, idx: int | Sequence[int] | None = None) -> Any:
        """A field of each map, such as ``"num_chs"``."""
        return self._each(lambda index: self.info[index][key], idx)

    def get_dicts(self, keys: Sequence[str] | None = None, idx: int | Sequence[int] | None = None) -> Any:
        """Some fields of each map, or all of them and its position ``"index"``, as a dict."""

        def fields(index: int) -> dict[str, Any]:
            known = {**self.info[index]._asdict(), "index": index % len(self.info)}
            return known if keys is None else {key: known[key] for key in keys}

        return self._each(fields, idx)

    def channels(self, idx: int | Sequence[int] | None = None) -> Any:
        """Channels of each map."""
        return self.get("num_chs", idx)

    def reduction(self, idx: int | Sequence[int] | None = None) -> Any:
        """Pixels of the image per step of each map."""
        return self.get("reduction", idx)

    def module_name(self, idx: int | Sequence[int] | None = None) -> Any:
        """The name in timm of the module that gives each map."""
        return self.get("module", idx)

    def _each(self, answer: Callable[[int], Any], idx: int | Sequence[int] | None) -> Any:
        if isinstance(idx, int):
            return answer(idx)
        return [answer(index) for index in (self.out_indices if idx is None else idx)]


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
