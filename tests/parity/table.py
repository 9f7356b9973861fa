"""The table of the sweep, ``docs/parity.csv``: a row an architecture, the last comparison's."""

import csv
import fcntl
import os
import re
from dataclasses import asdict, dataclass, fields
from pathlib import Path

TABLE = Path(__file__).parents[2] / "docs" / "parity.csv"
BOUND = 1e-4
"""On the largest difference of any logit from timm's in float64, relative to the largest logit."""


@dataclass(frozen=True)
class Row:
    """One comparison's outcome.

    Attributes:
        name: timm's name of the architecture.
        params: its trainable numbers, unreduced and with 1000 classes or as many as its weights have.
        structure: ``"full"``, or how many blocks were left.
        input: height and width of the images.
        max_delta: the largest difference of any logit from timm's in float64.
        scale: the largest of these logits.
        relative: their quotient.
        pytorch: the same quotient for timm's own float32 logits: what rounding costs PyTorch.
    """

    name: str
    params: int
    structure: str
    input: str
    max_delta: str
    scale: str
    relative: str
    pytorch: str


def rows(path: Path = TABLE) -> dict[str, Row]:
    """The rows by name."""
    if not path.exists():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        read = [Row(**{**row, "params": int(row["params"])}) for row in csv.DictReader(file)]
    return {row.name: row for row in read}


def keep(row: Row, path: Path = TABLE) -> None:
    """Adds a row or replaces that of the same name; several processes may do so at once."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)  # a file of its own could not be removed without another one losing its lock
        merged = rows(path) | {row.name: row}
        new = path.with_suffix(".new")
        with new.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, [field.name for field in fields(Row)], lineterminator="\n")
            writer.writeheader()
            writer.writerows(asdict(merged[name]) for name in sorted(merged, key=_natural))
        new.replace(path)
    finally:
        os.close(folder)


def _natural(name: str) -> list[int | str]:
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]
