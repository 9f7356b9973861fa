"""The parts of a report on a multi-label classifier or a regression."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Shaped

from jaxvision.evaluation import plots
from jaxvision.evaluation.album import Album
from jaxvision.evaluation.examples import largest_errors, worst_multilabel
from jaxvision.evaluation.html import join
from jaxvision.evaluation.multilabel import MultilabelResult
from jaxvision.evaluation.regression import RegressionResult
from jaxvision.evaluation.sections import MOST_ROWS, Section, hint, rows_table, scrolled

_LABELS = {
    "class": "label", "average_precision": "AP", "auroc": "AUROC", "precision": "precision", "recall": "recall",
    "f1": "F1", "support": "support",
}  # fmt: skip
_TARGETS = {"target": "target", "mae": "MAE", "rmse": "RMSE", "r2": "R²", "bias": "bias", "nll": "NLL"}


def multilabel_sections(
    album: Album,
    result: MultilabelResult,
    names: Sequence[str],
    labels: Shaped[np.ndarray, "n k"],
    probabilities: Float[np.ndarray, "n k"],
) -> list[Section]:
    """Labels and mistakes."""
    rows = result.rows()
    album.text("per_class.csv", rows_table(rows, _LABELS).csv(), "the scores of each label")
    shown = sorted(rows, key=lambda row: 2.0 if row["average_precision"] is None else row["average_precision"])
    count = "" if len(rows) <= MOST_ROWS else f"The {MOST_ROWS} lowest of {len(rows)} labels; per_class.csv has all. "
    words = f"{count}Support is the number of examples that have the label; AP is the average precision."
    parts: list[str] = [hint(words), scrolled(rows_table(shown[:MOST_ROWS], _LABELS).html())]
    if (bars := plots.average_precision_bars(result)) is not None:
        alt = "Bars of the average precision of each label, lowest first"
        parts.append(album.figure("average_precision.png", bars, alt, "average precision of each label"))
    worst = worst_multilabel(names, labels, probabilities, result.class_names, result.threshold)
    if worst:
        words = "The examples with the most confidently wrong label. Bars: the wrong labels; green ones were missed."
        cards = join(hint(words), album.examples("mistakes.png", worst, "the most confident mistakes"))
    else:
        cards = hint("Every label of every example is right.")
    return [Section("labels", "Labels", join(*parts)), Section("mistakes", "Worst mistakes", cards)]


def regression_sections(
    album: Album,
    result: RegressionResult,
    names: Sequence[str],
    targets: Float[np.ndarray, "n d"],
    predictions: Float[np.ndarray, "n d"],
) -> list[Section]:
    """Targets and the largest errors."""
    table = rows_table(result.rows(), _TARGETS)
    album.text("per_target.csv", table.csv(), "the errors of each target")
    parts: list[str] = [scrolled(table.html())]
    for place, target in enumerate(result.target_names):
        figure = plots.residuals(targets[:, place], predictions[:, place], target)
        name = "residuals.png" if len(result.target_names) == 1 else f"residuals_{place}.png"
        alt = f"Predicted against true {target}, and the histogram of the errors"
        parts.append(album.figure(name, figure, alt, f"predicted and true {target}, and the errors"))
    worst = album.examples("mistakes.png", largest_errors(names, targets, predictions), "the largest errors")
    return [Section("targets", "Targets", join(*parts)), Section("mistakes", "Largest errors", worst)]
