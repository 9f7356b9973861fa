"""The curves of a training run, read from its ``metrics.jsonl``."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int


class HistoryError(ValueError):
    """A file of metrics that cannot be read."""


@dataclass(frozen=True, eq=False)
class History:
    """One row an epoch.

    Attributes:
        epochs: their numbers, ascending.
        columns: every number logged, by name (``train_loss``, ``val_accuracy``, ``lr``); NaN where an epoch has none.
        skipped: numbers of the lines that are no JSON object: cut short when the run was killed.
    """

    epochs: Int[np.ndarray, " e"]
    columns: Mapping[str, Float[np.ndarray, " e"]]
    skipped: tuple[int, ...] = ()

    def curve(self, name: str) -> tuple[Int[np.ndarray, " p"], Float[np.ndarray, " p"]]:
        """The epochs that have a finite value of a column, and the values; both empty where there is no such column."""
        values = self.columns.get(name, np.full(len(self.epochs), np.nan))
        known = np.isfinite(values)
        return self.epochs[known], values[known]

    def best(self, name: str, mode: str = "max") -> tuple[int, float] | None:
        """The epoch with the highest (``"max"``) or lowest (``"min"``) value, and the value; None without values."""
        epochs, values = self.curve(name)
        if len(values) == 0:
            return None
        index = int(values.argmax() if mode == "max" else values.argmin())
        return int(epochs[index]), float(values[index])


def read_history(path: str | Path) -> History:
    """Reads the epochs of a run: the lines ``{"kind": "epoch", "epoch": 3, "train_loss": 0.7, ...}``.

    Lines of another kind are passed over. An epoch that comes twice, as after a resume, counts as it was last written.

    Raises:
        HistoryError: the file cannot be opened, or an epoch has no number.
    """
    try:
        text = Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise HistoryError(f"cannot read {str(path)!r}: {error.strerror or error}") from None
    rows: dict[int, dict[str, float]] = {}
    skipped = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        record = _parse(line)
        if record is None:
            skipped.append(number)
        elif record.get("kind") == "epoch":
            epoch = record.get("epoch")
            if not isinstance(epoch, int):
                raise HistoryError(f"{str(path)!r}, line {number}: an epoch needs a whole number, got {epoch!r}")
            rows[epoch] = {k: float(v) for k, v in record.items() if _is_number(v) and k != "epoch"}
    epochs = sorted(rows)
    names = dict.fromkeys(name for epoch in epochs for name in rows[epoch])
    columns = {name: np.array([rows[epoch].get(name, np.nan) for epoch in epochs]) for name in names}
    return History(np.array(epochs, dtype=np.int64), columns, tuple(skipped))


def _parse(line: str) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
