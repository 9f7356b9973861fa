"""One number a class, or one a choice."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from jaxvision.evaluation.classification import ClassificationResult
from jaxvision.evaluation.comparison import check_comparable
from jaxvision.evaluation.intervals import wilson_interval
from jaxvision.evaluation.multilabel import MultilabelResult
from jaxvision.evaluation.plots.style import BLUE, CYCLE, INK, MUTED, short, styled

_MOST = 40


def _horizontal(names: Sequence[str], values: np.ndarray, whiskers: np.ndarray | None, xlabel: str) -> Figure:
    """Bars from the lowest value down, at most 40 of them."""
    order = np.argsort(values, kind="stable")
    shown = order[:_MOST]
    figure = Figure(figsize=(6.2, 0.24 * len(shown) + 0.9))
    axes = figure.subplots()
    place = np.arange(len(shown))
    axes.barh(place, values[shown], height=0.68, color=BLUE, alpha=0.85)
    if whiskers is not None:
        axes.errorbar(
            values[shown], place, xerr=whiskers[:, shown], fmt="none", ecolor=INK, elinewidth=0.8, capsize=1.5
        )
    axes.set_yticks(place, [short(names[i]) for i in shown], color=INK)
    axes.tick_params(axis="y", length=0)
    for y, i in enumerate(shown):
        axes.text(1.02, y, f"{values[i]:.2f}", va="center", fontsize=7.5, color=MUTED)
    axes.grid(False, axis="y")
    axes.set(xlim=(0, 1), ylim=(len(shown) - 0.4, -0.6))
    axes.set_xlabel(xlabel if len(shown) == len(order) else f"{xlabel}, the {_MOST} lowest of {len(order)}")
    return figure


@styled
def recall_bars(result: ClassificationResult) -> Figure:
    """The recall of each class that has examples, lowest first, with its 95 % interval."""
    known = [scores for scores in result.per_class if scores.recall is not None]
    recall = np.array([scores.recall for scores in known])
    support = np.array([scores.support for scores in known])
    low, high = wilson_interval(np.round(recall * support), support)
    whiskers = np.maximum(np.stack([recall - low, high - recall]), 0)
    return _horizontal([scores.name for scores in known], recall, whiskers, "recall, with its 95 % interval")


@styled
def average_precision_bars(result: MultilabelResult) -> Figure | None:
    """The average precision of each label that has positive examples, lowest first; None if none has."""
    known = [scores for scores in result.per_class if scores.average_precision is not None]
    if not known:
        return None
    values = np.array([scores.average_precision for scores in known])
    return _horizontal([scores.name for scores in known], values, None, "average precision")


@styled
def comparison_bars(results: Mapping[str, ClassificationResult]) -> Figure:
    """What each choice does to balanced accuracy, macro F1 and the recalls (of up to four classes).

    Raises:
        ValueError: as `jaxvision.evaluation.comparison.comparison_table`.
    """
    check_comparable(results)
    names = next(iter(results.values())).class_names
    measures = ["balanced accuracy", "macro F1"]
    measures += [f"recall of {short(name, 16)}" for name in names] if len(names) <= 4 else ["lowest recall"]
    figure = Figure(figsize=(7.2, 3.2))
    axes = figure.subplots()
    width = 0.8 / len(results)
    for place, (choice, result) in enumerate(results.items()):
        recalls = [np.nan if s.recall is None else s.recall for s in result.per_class]
        values = [result.balanced_accuracy, result.macro.f1, *(recalls if len(names) <= 4 else [np.nanmin(recalls)])]
        x = np.arange(len(measures)) - 0.4 + width * (place + 0.5)
        color = CYCLE[place % len(CYCLE)]
        axes.bar(
            x, values, width=0.88 * width, color=color, label=short(choice), hatch="//" if place >= len(CYCLE) else ""
        )
    axes.set_xticks(range(len(measures)), measures, color=INK)
    axes.tick_params(axis="x", length=0)
    axes.grid(False, axis="x")
    axes.set(ylim=(0, 1))
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), labelcolor=MUTED)
    return figure
