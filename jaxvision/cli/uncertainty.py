"""``jaxvision uncertainty``: how sure is it, and is it right to be?"""

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from jaxvision.cli import train
from jaxvision.experiment.injection import InjectionOptions
from jaxvision.training.config import DataOptions, TrainConfig

_CLASSES = {"accuracy": "accuracy", "nll": "NLL", "brier": "Brier", "ece": "ECE", "aurc": "AURC"}
_NUMBERS = {"nll": "NLL", "rmse": "RMSE", "crps": "CRPS", "picp": "in 95 %", "mpiw": "width of 95 %"}

if TYPE_CHECKING:
    from jaxvision.experiment.uncertainty import Uncertain


@dataclass(frozen=True, kw_only=True)
class Command(InjectionOptions):
    """Say how sure a trained network is, by dropout that is injected into it and calibrated.

    The dropout rate and the scale (for classes, the temperature) are tuned on validation data, and the result is
    measured on other data, beside what needs no dropout. Writes calibration.json, uncertainty.json, uncertainty.csv,
    plots and report.html. The network is not changed.
    """

    source: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN_OR_MODEL", help_behavior_hint="")] = ""
    """Folder of a run, or name of a model with published weights."""
    data: str = ""
    """A folder with one folder a class, or other data. Default: those of the run."""
    val_split: str | None = None
    """Which split tunes. Default: val, else data that are not divided."""
    split: str | None = None
    """Which split is measured. Default: test, else one half of what would tune."""
    ood: str | None = None
    """Other data, which the network cannot know: does it tell them apart?"""
    checkpoint: str = "best"
    """Which checkpoint of a run: best, last, or a step."""
    output: Path | None = None
    """Folder of the report. Default: uncertainty/ in the run."""
    batch_size: Annotated[int, tyro.conf.arg(aliases=["-b"])] = 64
    """Pictures in one pass."""
    workers: Annotated[int, tyro.conf.arg(aliases=["-j"])] = 2
    """Threads that read pictures."""
    group_by: str | None = None
    """With --data: what is not divided between splits; see `jaxvision train --help`."""
    data_dir: Path | None = None
    """Where prepared TFDS data are."""

    def run(self) -> int:
        """Runs the command."""
        from jaxvision.cli.errors import UsageError

        if not self.source:
            raise UsageError("name the folder of a run, or a model with published weights")
        return train.guarded(TrainConfig(), self._run)

    def _run(self) -> int:
        from rich.console import Console

        console = Console()
        if not console.is_terminal:
            return show(self._estimate(train.say))
        from jaxvision.cli.progress import Passes

        with Passes(console) as bar:
            done = self._estimate(bar.line, watch=bar.step)
        return show(done)

    def _estimate(self, say: Any, **watching: Any) -> "Uncertain":
        from jaxvision.experiment.uncertainty import uncertainty

        folder = Path(self.source)
        default = folder / "uncertainty" if folder.is_dir() else Path("runs") / f"uncertainty-{folder.name}"
        return uncertainty(
            self.source,
            DataOptions(data=self.data, data_dir=self.data_dir, group_by=self.group_by),
            InjectionOptions(**{field.name: getattr(self, field.name) for field in fields(InjectionOptions)}),
            val_split=self.val_split,
            split=self.split,
            ood=self.ood,
            checkpoint=self.checkpoint,
            output=self.output or default,
            batch_size=self.batch_size,
            workers=self.workers,
            say=say,
            **watching,
        )


def show(done: "Uncertain") -> int:
    """Prints the numbers beside those of what needs no dropout, and where the report is; returns the exit code."""
    sys.stdout.write(f"\n{summary(done.findings)}\nreport: {done.report}\n")
    return 0


def summary(findings: Mapping[str, Any]) -> str:
    """The report's numbers in a few lines: the methods side by side, and whether dropout is better.

    Args:
        findings: what is in ``uncertainty.json``.
    """
    from jaxvision.evaluation.tables import Cell, Table

    result = findings["result"]
    columns = _CLASSES if result["kind"] == "classification" else _NUMBERS
    rows: list[list[Cell]] = [
        [name, *(numbers[column] for column in columns)] for name, numbers in result["methods"].items()
    ]
    # Of a heteroscedastic head's own variance, say, tuning has measured the likelihood only.
    rows[:0] = [
        [other["name"], *(other["test_nll"] if column == "nll" else None for column in columns)]
        for other in findings["calibration"]["candidates"]
        if other["baseline"] and other["rate"] is None and other["name"] not in result["methods"]
    ]
    lines = [Table(["method", *columns.values()], rows, digits=4).text().rstrip(), _verdict(result)]
    strangers = result["out_of_distribution"]
    if strangers is not None:
        found = [f"{score} {numbers['auroc']:.3f}" for score, numbers in strangers["scores"].items()]
        lines.append(f"{strangers['name']} told apart, AUROC: {', '.join(found)}.")
    sets = result["conformal"]
    if sets:
        size = f"{sets['mean_size']:.2f} classes" if "mean_size" in sets else f"{sets['mean_width']:.4g} wide"
        what = "sets" if "mean_size" in sets else "intervals"
        lines.append(
            f"Conformal {what} hold the truth in {sets['coverage']:.1%} of the cases, and are {size} on average."
        )
    return "\n".join(lines)


def _verdict(result: Mapping[str, Any]) -> str:
    gap = result["nll_difference"]
    mean, low, high = gap["mean"], gap["low"], gap["high"]
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return f"Whether MC dropout is better than the {gap['other']}, {result['rows']} rows are too few to tell."
    numbers = f"NLL {mean:+.4f} nats, 95 % interval {low:+.4f} to {high:+.4f}"
    if high < 0 and round(mean, 4):
        return f"MC dropout is better than the {gap['other']}: {numbers}."
    if low > 0 and round(mean, 4):
        return f"MC dropout is worse than the {gap['other']}: {numbers}."
    return f"MC dropout is no better than the {gap['other']}, as far as {result['rows']} rows tell: {numbers}."
