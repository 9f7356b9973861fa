"""The remedies for imbalanced classes, each tried on the same data, in one table."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from jaxvision.evaluation.classification import ClassificationResult
from jaxvision.evaluation.comparison import comparison_table
from jaxvision.evaluation.history import read_history
from jaxvision.evaluation.tables import Table
from jaxvision.experiment import assess
from jaxvision.experiment.train import RunResult, run_training
from jaxvision.training.config import ConfigError, TrainConfig, replaced

CHOICES: dict[str, dict[str, object]] = {
    "nothing": {},
    "oversampling": {"sampling": "oversample"},
    "undersampling": {"sampling": "undersample"},
    "class weights": {"class_weights": "balanced"},
    "focal loss": {"focal_gamma": 2.0},
}


@dataclass(frozen=True)
class Comparison:
    """The table, and the report that holds it."""

    table: Table
    report: Path


def compare_imbalance(config: TrainConfig, say: Callable[[str], None] = print) -> Comparison:
    """Trains once with each remedy, all else equal, and compares.

    Args:
        config: the settings; those of the remedies are set one after the other. Each run has a folder in its output,
            and a report with the table, also as ``comparison.csv``, is beside them.
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
    runs: dict[str, RunResult] = {}
    for choice, changes in CHOICES.items():
        say(f"\n== {choice}")
        folder = config.job.output / choice.replace(" ", "-")
        run = run_training(replaced(config, {**changes, "output": folder}), say)
        if run.stopped.startswith("SIG"):
            raise KeyboardInterrupt
        if not isinstance(run.result, ClassificationResult):
            raise ConfigError("--compare-imbalance needs classes, and a validation or test split to compare on")
        results[choice] = run.result
        runs[choice] = run
    table = comparison_table(results)
    best = max(results, key=lambda choice: results[choice].balanced_accuracy)
    assessed = runs[best].assessed
    assert assessed is not None, "a run with a result has predictions"
    report, _ = assess.report(
        config.job.output,
        assessed,
        title=f"{config.network.model} on {Path(config.data.data).name}: remedies for imbalance",
        settings={"model": config.network.model, "data": config.data.data, "remedy shown in detail": best},
        history=read_history(runs[best].output / "metrics.jsonl"),
        threshold=runs[best].threshold,
        comparison=results,
        notes=[f"Below the comparison: {best}, which has the highest balanced accuracy."],
    )
    return Comparison(table, report)
