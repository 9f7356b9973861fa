"""Where a run's numbers go: ``metrics.jsonl`` and ``summary.csv`` always, TensorBoard and Weights & Biases if asked."""

import csv
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol


class Writer(Protocol):
    """Takes the rows of a run: ``{"kind": "train" | "epoch", "step": ..., "epoch": ..., name: number, ...}``."""

    def write(self, row: Mapping[str, Any]) -> None:
        """Takes a row."""
        ...

    def close(self) -> None:
        """Ends writing."""
        ...


class FileWriter:
    """Lines of JSON, and a table of the epochs.

    Args:
        folder: gets ``metrics.jsonl`` and ``summary.csv``.
        start_step: rows of later steps, which an interrupted run left, are taken away.
    """

    def __init__(self, folder: Path, start_step: int = 0) -> None:
        self._lines, self._table = folder / "metrics.jsonl", folder / "summary.csv"
        kept = [row for row in _rows(self._lines) if row.get("step", 0) <= start_step]
        self._epochs = [row for row in kept if row.get("kind") == "epoch"]
        _replace(self._lines, "".join(json.dumps(row) + "\n" for row in kept))
        self._file = self._lines.open("a", encoding="utf-8")

    def write(self, row: Mapping[str, Any]) -> None:
        """Appends the row; after an epoch, the table is written anew."""
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()
        if row.get("kind") == "epoch":
            self._epochs.append(dict(row))
            columns = dict.fromkeys(name for epoch in self._epochs for name in epoch if name != "kind")
            temporary = self._table.with_suffix(".tmp")
            with temporary.open("w", encoding="utf-8", newline="") as file:
                table = csv.DictWriter(file, list(columns), extrasaction="ignore", lineterminator="\n")
                table.writeheader()
                table.writerows(self._epochs)
            os.replace(temporary, self._table)

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


class TensorBoardWriter:
    """TensorBoard's event files, by tensorboardX.

    Raises:
        ModuleNotFoundError: it is not installed; the message says how.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from tensorboardX import SummaryWriter
        except ModuleNotFoundError:
            raise ModuleNotFoundError("--tensorboard needs `pip install 'jaxvision-zoo[tensorboard]'`") from None
        self._writer = SummaryWriter(str(folder))

    def write(self, row: Mapping[str, Any]) -> None:
        """A scalar for each number."""
        for name, value in _numbers(row).items():
            self._writer.add_scalar(f"{row['kind']}/{name}", value, row["step"])

    def close(self) -> None:
        """Writes what is left."""
        self._writer.close()


class WandbWriter:
    """Weights & Biases.

    Raises:
        ModuleNotFoundError: it is not installed; the message says how.
    """

    def __init__(self, project: str, name: str, settings: Mapping[str, Any]) -> None:
        try:
            import wandb
        except ModuleNotFoundError:
            raise ModuleNotFoundError("--wandb-project needs `pip install 'jaxvision-zoo[wandb]'`") from None
        self._run = wandb.init(project=project, name=name, id=name, resume="allow", config=dict(settings))

    def write(self, row: Mapping[str, Any]) -> None:
        """A point for each number."""
        self._run.log({f"{row['kind']}/{name}": value for name, value in _numbers(row).items()}, step=row["step"])

    def close(self) -> None:
        """Ends the run."""
        self._run.finish()


def _numbers(row: Mapping[str, Any]) -> dict[str, float]:
    return {name: value for name, value in row.items() if isinstance(value, int | float) and name != "step"}


def _rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a file, but for a last line that was cut off."""
    rows = []
    if path.exists():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if isinstance(row, dict):
                rows.append(row)
    return rows


def _replace(path: Path, text: str) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)
