"""The remedies for imbalanced classes, each tried on the same data, in one table."""

from collections.abc import Callable
from pathlib import Path

from jaxvision.evaluation.classification import ClassificationResult
from jaxvision.evaluation.comparison import comparison_table
from jaxvision.evaluation.tables import Table
from jaxvision.experiment.train import run_training
from jaxvision.training.config import ConfigError, TrainConfig, replaced

CHOICES: dict[str, dict[str, object]] = {
    "nothing": {},
    "oversampling": {"sampling": "oversample"},
    "undersampling": {"sampling": "undersample"},
    "class weights": {"class_weights": "balanced"},
    "focal loss": {"focal_gamma": 2.0},
}


def compare_imbalance(config: TrainConfig, say: Callable[[str], None] = print) -> "Comparison":
    """Trains once with each remedy, all else equal, and compares.

    Args:
        config: the settings; those of the remedies are set one after the other. Each run has a folder in its output,
            and ``comparison.csv`` is beside them.
        say: takes lines of text for whoever watches.

    Raises:
        ConfigError: there is no output folder, or a remedy is set already.
    """
    base = {"sampling": "none", "class_weights": None, "focal_gamma": 0.0}
    given = {"sampling": config.data.sampling, **{n: getattr(config.loss, n) for n in ("class_weights", "focal_gamma")}}
    if given != base:
        raise ConfigError(
            "--compare-imbalance tries --sampling, --class-weights and --focal-gamma itself: leave them out"
        )
    if config.job.output is None:
        raise ConfigError("--compare-imbalance makes several runs: name the folder for them by --output")
    results: dict[str, ClassificationResult] = {}
    for choice, changes in CHOICES.items():
        say(f"\n== {choice}")
        folder = config.job.output / choice.replace(" ", "-")
        run = run_training(replaced(config, {**changes, "output": folder}), say)
        if run.stopped.startswith("SIG"):
            raise KeyboardInterrupt
        if not isinstance(run.result, ClassificationResult):
            raise ConfigError("--compare-imbalance needs classes, and a validation or test split to compare on")
        results[choice] = run.result
    comparison = Comparison(comparison_table(results, "remedy"), config.job.output / "comparison.csv")
    comparison.path.write_text(comparison.table.csv(), encoding="utf-8")
    return comparison


class Comparison:
    """The table, and the file it is in."""

    def __init__(self, table: Table, path: Path) -> None:
        self.table, self.path = table, path

    def __str__(self) -> str:
        return f"\n{self.table.text()}\n\nthe same as CSV: {self.path}"
