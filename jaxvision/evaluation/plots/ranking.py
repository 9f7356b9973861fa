"""How well probabilities put the right examples first, and what a threshold makes of them."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn import metrics

from jaxvision.evaluation.plots.style import BLUE, CYCLE, FAINT, GREEN, INK, MUTED, ORANGE, short, styled
from jaxvision.evaluation.threshold import operating_point

_MOST = 10


def _shown_classes(labels: np.ndarray, probabilities: np.ndarray) -> list[int]:
    """The positive class of two; of several, those that have examples, at most the ten with the lowest recall."""
    k = probabilities.shape[1]
    usable = [c for c in range(k) if 0 < (labels == c).sum() < len(labels)]
    if k == 2:
        return usable[-1:]
    right = probabilities.argmax(axis=1) == labels
    return sorted(sorted(usable, key=lambda c: float(right[labels == c].mean()))[:_MOST])


def _frame(classes: int) -> tuple[Figure, Axes]:
    legend_rows = 0 if classes == 1 else -(-classes // 2)
    figure = Figure(figsize=(4.4, 4.1 + 0.19 * legend_rows))
    axes = figure.subplots()
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    return figure, axes


def _legend(figure: Figure, axes: Axes, classes: int, loc: Literal["lower left", "lower right"]) -> None:
    if classes == 1:
        axes.legend(loc=loc, labelcolor=MUTED)
    else:
        figure.legend(loc="outside lower center", ncols=2, labelcolor=MUTED, handlelength=1.6, fontsize=7.5)


def _line(place: int) -> dict[str, Any]:
    return {"color": CYCLE[place % len(CYCLE)], "linestyle": "-" if place < len(CYCLE) else "--"}


@styled
def roc_curves(
    labels: Int[np.ndarray, " n"],
    probabilities: Float[np.ndarray, "n k"],
    class_names: Sequence[str],
    threshold: float | None = None,
) -> Figure | None:
    """The receiver operating characteristic of the positive class, or of each class against the rest.

    Of more than ten classes, the ten with the lowest recall are drawn.

    Args:
        labels: the true classes' indices.
        probabilities: of each class.
        class_names: one a class.
        threshold: of two classes: marks the decision it makes.

    Returns:
        None where no class has examples and counterexamples.
    """
    classes = _shown_classes(labels, probabilities)
    if not classes:
        return None
    figure, axes = _frame(len(classes))
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1)
    for place, c in enumerate(classes):
        fpr, tpr, _ = metrics.roc_curve(labels == c, probabilities[:, c])
        name = f"{short(class_names[c], 18)}, AUROC {metrics.auc(fpr, tpr):.3f}"
        axes.plot(fpr, tpr, label=name, **_line(place))
    if threshold is not None and probabilities.shape[1] == 2:
        point = operating_point(labels, probabilities[:, 1], threshold)
        _mark(axes, 1 - (point.specificity or 0), point.recall or 0, threshold)
    axes.set(xlabel="false positive rate", ylabel="true positive rate (recall)", title="ROC")
    _legend(figure, axes, len(classes), "lower right")
    return figure


@styled
def precision_recall_curves(
    labels: Int[np.ndarray, " n"],
    probabilities: Float[np.ndarray, "n k"],
    class_names: Sequence[str],
    threshold: float | None = None,
) -> Figure | None:
    """Precision against recall; arguments and result as of `roc_curves`."""
    classes = _shown_classes(labels, probabilities)
    if not classes:
        return None
    figure, axes = _frame(len(classes))
    for place, c in enumerate(classes):
        truth = labels == c
        precision, recall, _ = metrics.precision_recall_curve(truth, probabilities[:, c])
        area = metrics.average_precision_score(truth, probabilities[:, c])
        name = f"{short(class_names[c], 18)}, AP {area:.3f}"
        axes.plot(recall, precision, drawstyle="steps-post", label=name, **_line(place))
    if len(classes) == 1:
        share = float((labels == classes[0]).mean())
        axes.axhline(share, color=FAINT, linewidth=1, label=f"by chance, {share:.3f}", zorder=1)
    if threshold is not None and probabilities.shape[1] == 2:
        point = operating_point(labels, probabilities[:, 1], threshold)
        if point.precision is not None:
            _mark(axes, point.recall or 0, point.precision, threshold)
    axes.set(xlabel="recall", ylabel="precision", title="Precision and recall")
    _legend(figure, axes, len(classes), "lower left")
    return figure


def _mark(axes: Axes, x: float, y: float, threshold: float) -> None:
    label = f"at threshold {threshold:.3g}"
    axes.plot(x, y, "o", color=ORANGE, markersize=6.5, markeredgecolor="white", label=label, zorder=5)


@styled
def threshold_curves(
    labels: Int[np.ndarray, " n"], probabilities: Float[np.ndarray, " n"], threshold: float, positive: str
) -> Figure:
    """Precision, recall and F1 of the positive class at every threshold.

    Args:
        labels: 1 for positive, 0 for negative.
        probabilities: of being positive.
        threshold: the chosen one, which is marked.
        positive: name of the positive class.
    """
    figure = Figure(figsize=(6.2, 3.1))
    axes = figure.subplots()
    cuts = np.unique(np.concatenate([np.linspace(0, 1, 201), np.quantile(probabilities, np.linspace(0, 1, 201))]))
    points = [operating_point(labels, probabilities, float(cut)) for cut in cuts]
    for name, color in (("precision", BLUE), ("recall", GREEN), ("f1", INK)):
        values = [getattr(point, name) for point in points]
        known = [np.nan if value is None else value for value in values]
        axes.plot(cuts, known, color=color, label="F1" if name == "f1" else name)
    axes.axvline(threshold, color=ORANGE, linewidth=1.2, label=f"chosen: {threshold:.3g}")
    axes.set(xlim=(0, 1), ylim=(-0.01, 1.02), xlabel=f"threshold on the probability of {short(positive)}")
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), labelcolor=MUTED)
    return figure
