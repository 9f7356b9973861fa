"""Tables of renames, and the two things that are done to whole arrays on the way."""

import re
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from jaxvision.weights.entry import Entry
from jaxvision.weights.errors import WeightsError
from jaxvision.weights.sources.source import Named

_PART = re.compile(r"(?P<layer>.+)\[(?P<part>\d)/(?P<parts>\d)\](?P<leaf>(\.\w+)?)")


class Renames:
    """Renames keys by a table from a source's names of layers to timm's.

    ``#`` stands for a number. In timm's name the numbers follow in the order of the source's, one more or less as
    ``#+1`` and ``#-1``. ``layer[1/3]`` is the second third of what timm keeps as one, see `joined`. The leaf
    (``.weight``) goes along; a row may also name a whole key. The first row that matches counts.

    Args:
        rows: from a source's names to timm's.
    """

    def __init__(self, rows: Mapping[str, str]):
        self._rows = [
            (re.compile(re.escape(theirs).replace(r"\#", r"(\d+)") + r"(?P<leaf>(?:\.[A-Za-z_]\w*)?)"), ours)
            for theirs, ours in rows.items()
        ]

    def __call__(self, key: str) -> str | None:
        """The name in timm, or None where no row matches."""
        for pattern, ours in self._rows:
            if match := pattern.fullmatch(key):
                return _with_numbers(ours, match.groups()[:-1]) + match["leaf"]
        return None


def _with_numbers(name: str, numbers: Iterable[str]) -> str:
    remaining = iter(numbers)
    return re.sub(r"#([+-]1)?", lambda step: str(int(next(remaining)) + int(step[1] or 0)), name)


def joined(entries: Iterable[Named]) -> Iterator[Named]:
    """Joins what timm keeps as one (``qkv``) from its parts (``qkv[0/3]``, ...), in the order of the parts.

    Where a part is missing the others stay without a name, so that they are reported.

    Raises:
        WeightsError: the parts' shapes do not fit each other.
    """
    groups: dict[tuple[str, int], dict[int, Entry]] = {}
    for name, entry in entries:
        match = _PART.fullmatch(name or "")
        if match is None:
            yield name, entry
            continue
        group = groups.setdefault((match["layer"] + match["leaf"], int(match["parts"])), {})
        if int(match["part"]) in group:
            raise WeightsError(f"{group[int(match['part'])].key!r} and {entry.key!r} are the same part of {name!r}")
        group[int(match["part"])] = entry
    for (name, count), found in groups.items():
        parts = [found[index] for index in sorted(found)]
        if len(parts) < count:
            yield from ((None, part) for part in parts)
            continue
        try:
            array = np.concatenate([part.array for part in parts])
        except ValueError:
            shapes = ", ".join(f"{part.key!r} {part.array.shape}" for part in parts)
            raise WeightsError(f"{shapes} make up {name!r} together, and their shapes do not fit") from None
        yield name, Entry(" + ".join(part.key for part in parts), array)


def blocks_in_order(variables: Iterable[str]) -> list[str]:
    """``blocks.0.0``, ``blocks.1.0``, ...: the blocks of a model that has them in stages, numbered through."""
    matches = (re.match(r"blocks\.(\d+)\.(\d+)\.", name) for name in variables)
    places = sorted({(int(match[1]), int(match[2])) for match in matches if match})
    return [f"blocks.{stage}.{block}" for stage, block in places]


def named_by(rename: Renames, weights: Mapping[str, np.ndarray], prefix: str = "") -> Iterator[Named]:
    """Every entry with timm's name by a table; the prefix is taken off where a key has it."""
    for key, array in weights.items():
        yield rename(key.removeprefix(prefix)), Entry(key, array)
