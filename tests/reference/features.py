"""What timm's architectures give as feature maps: features.csv, written by make_features.py."""

import csv
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

FILE = Path(__file__).parent / "features.csv"

Level = tuple[str, int, int]


def pack(levels: Sequence[Level]) -> str:
    """``blocks.0-11:768:16`` for a ViT's twelve; one ``module:channels:reduction`` a level otherwise."""
    names = [module for module, _, _ in levels]
    if len({level[1:] for level in levels}) == 1 and names == [f"blocks.{index}" for index in range(len(names))]:
        return f"blocks.0-{len(names) - 1}:{levels[0][1]}:{levels[0][2]}"
    return " ".join(f"{module}:{channels}:{reduction}" for module, channels, reduction in levels)


def unpack(text: str) -> tuple[Level, ...]:
    """The inverse of `pack`."""
    levels = [
        (module, int(channels), int(reduction)) for module, channels, reduction in (s.split(":") for s in text.split())
    ]
    if run := re.fullmatch(r"blocks\.0-(\d+)", levels[0][0]):
        return tuple((f"blocks.{index}", *levels[0][1:]) for index in range(int(run[1]) + 1))
    return tuple(levels)


@cache
def features() -> dict[str, tuple[tuple[Level, ...], int]]:
    """By architecture: its feature maps, and the parameters of what makes those that timm takes unasked."""
    with FILE.open(encoding="utf-8") as file:
        return {row["name"]: (unpack(row["features"]), int(row["params"])) for row in csv.DictReader(file)}
