"""What training did, epoch by epoch."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from jaxvision.evaluation.history import History
from jaxvision.evaluation.plots.style import BLUE, MUTED, ORANGE, styled


@styled
def training_curves(history: History) -> Figure:
    """Training and validation curves: the loss, and beside it the accuracy where there is one.

    Raises:
        ValueError: the history holds no loss.
    """
    measures = [name for name in ("loss", "accuracy") if _has(history, name)]
    if "loss" not in measures:
        raise ValueError("the history has neither train_loss nor val_loss: there is no curve to draw")
    figure = Figure(figsize=(4.5 * len(measures), 3.1))
    for axes, name in zip(figure.subplots(1, len(measures), squeeze=False).flat, measures, strict=True):
        _draw(axes, history, name)
    return figure


def _has(history: History, name: str) -> bool:
    return any(len(history.curve(f"{part}_{name}")[0]) for part in ("train", "val"))


def _draw(axes: Axes, history: History, name: str) -> None:
    for part, label, color in (("train", "training", BLUE), ("val", "validation", ORANGE)):
        epochs, values = history.curve(f"{part}_{name}")
        if len(epochs):
            axes.plot(epochs, values, color=color, label=label, marker="o" if len(epochs) < 3 else None, markersize=4)
    best = history.best(f"val_{name}", "max" if name == "accuracy" else "min")
    if best is not None:
        epoch, value = best
        shown = f"{value:.1%}" if name == "accuracy" else f"{value:.3g}"
        label = f"{'highest' if name == 'accuracy' else 'lowest'}: {shown}, epoch {epoch}"
        axes.plot(epoch, value, "o", color="white", markeredgecolor=ORANGE, markersize=6, label=label)
    axes.set_title(name.capitalize())
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if name == "accuracy":
        axes.yaxis.set_major_locator(MaxNLocator(steps=[1, 2, 5, 10]))
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
        low, high = axes.get_ylim()
        axes.set_ylim(low, max(min(high, 1.01), low + 0.01))
    axes.legend(labelcolor=MUTED)
