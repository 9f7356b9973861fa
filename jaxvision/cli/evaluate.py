"""``jaxvision evaluate``: what is it worth on these pictures?"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from jaxvision.cli import train
from jaxvision.training.config import DataOptions, TrainConfig


@dataclass(frozen=True, kw_only=True)
class Command:
    """Evaluate trained runs, or published networks, and write a report.

    Several sources are an ensemble: their probabilities are averaged.
    """

    sources: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN...", help_behavior_hint="")]
    """Folders of runs, or names of models with published weights."""
    data: str = ""
    """A folder with one folder a class, or other data. Default: those of the run."""
    split: str | None = None
    """Which split. Default: test, else validation."""
    checkpoint: str = "best"
    """Which checkpoint of a run: best, last, or a step."""
    tta: Literal["none", "hflip", "flips"] = "none"
    """Also look at mirrored pictures: left to right, or all four ways."""
    use_test_size: bool = False
    """Of published models: take the larger size and crop that some weights are better with."""
    threshold: str | None = None
    """Two classes: choose the threshold on the validation data by f1, youden, balanced_accuracy, 'recall>=0.95', ..."""
    output: Path | None = None
    """Folder of the report. Default: evaluation/ in the first run."""
    batch_size: Annotated[int, tyro.conf.arg(aliases=["-b"])] = 64
    """Pictures in one pass."""
    workers: Annotated[int, tyro.conf.arg(aliases=["-j"])] = 2
    """Threads that read pictures."""
    val_fraction: float = 0.2
    """With --data that have no splits: share that is the validation split."""
    group_by: str | None = None
    """With --data: what is not divided between splits; see `jaxvision train --help`."""
    data_dir: Path | None = None
    """Where prepared TFDS data are."""
    driver: Literal["jit", "pmap", "shard_map"] = "jit"
    """What spreads a pass over devices."""

    def run(self) -> int:
        """Runs the command."""
        from jaxvision.cli.errors import UsageError

        if not self.sources:
            raise UsageError("name at least one run or model")

        def evaluate() -> int:
            from jaxvision.evaluation.classification import ClassificationResult
            from jaxvision.evaluation.classification_report import classification_report_text
            from jaxvision.experiment.evaluate import evaluate

            first = Path(self.sources[0])
            folder = first / "evaluation" if first.is_dir() else Path("runs") / f"evaluation-{first.name}"
            options = DataOptions(
                data=self.data, data_dir=self.data_dir, val_fraction=self.val_fraction, group_by=self.group_by
            )
            done = evaluate(
                self.sources,
                options,
                split=self.split,
                checkpoint=self.checkpoint,
                tta=self.tta,
                output=self.output or folder,
                batch_size=self.batch_size,
                workers=self.workers,
                threshold=self.threshold,
                driver=self.driver,
                use_test_size=self.use_test_size,
                say=train.say,
            )
            if isinstance(done.result, ClassificationResult):
                sys.stdout.write(f"\n{classification_report_text(done.result)}\n")
            sys.stdout.write(f"report: {done.report}\n")
            return 0

        return train.guarded(TrainConfig(), evaluate)
