"""Which class is taken for which."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from jaxvision.evaluation.plots.style import INK, short, styled

_COLORS = LinearSegmentedColormap.from_list("white to blue", ["#ffffff", "#b7d4ea", "#4a97c9", "#0072B2", "#064a73"])
_WITH_COUNTS, _WITH_SHARES, _WITH_LABELS = 12, 24, 50  # most classes whose cells and axes have room for it


@styled
def confusion_matrix(matrix: Int[np.ndarray, "k k"], class_names: Sequence[str]) -> Figure:
    """A confusion matrix: the colour is the share of the true class (row), the numbers are share and count.

    Beyond 12 classes the cells hold shares only, in percent, beyond 24 nothing; beyond 50 only some classes are named.
    """
    counts = np.asarray(matrix)
    k = len(counts)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = float(np.clip(0.62 * k, 2.4, 7.5) if k <= _WITH_COUNTS else np.clip(0.36 * k, 7.0, 9.0))
    figure = Figure(figsize=(side + 2.0, side + 1.1))
    axes = figure.subplots()
    # Among many classes each confusion is rare: the square root brings the rare ones out.
    norm = PowerNorm(0.5 if k > _WITH_COUNTS else 1.0, vmin=0, vmax=1)
    image = axes.imshow(shares, cmap=_COLORS, norm=norm, interpolation="nearest")
    if k <= _WITH_SHARES:
        _write_cells(axes, counts, shares)
    step = -(-k // _WITH_LABELS)
    ticks = range(0, k, step)
    labels = [short(class_names[tick]) for tick in ticks]
    size = 8.5 if k <= _WITH_COUNTS else 7 if k <= 30 else 5.5
    upright = sum(len(label) for label in labels) * 0.085 * size / 8.5 < side
    axes.set_xticks(ticks, labels, fontsize=size, color=INK, rotation=0 if upright else 90)
    axes.set_yticks(ticks, labels, fontsize=size, color=INK)
    axes.tick_params(length=0)
    axes.grid(False)
    axes.spines[:].set_visible(False)
    axes.set_xticks(np.arange(1, k) - 0.5, minor=True)
    axes.set_yticks(np.arange(1, k) - 0.5, minor=True)
    if k <= _WITH_LABELS:
        axes.grid(True, which="minor", color="#e6eaee", linewidth=0.7)
    axes.tick_params(which="minor", length=0)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    bar = figure.colorbar(image, ax=axes, shrink=0.7, aspect=22, pad=0.02, format=PercentFormatter(1, decimals=0))
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0)
    bar.set_label("share of the true class")
    return figure


def _write_cells(axes: Axes, counts: np.ndarray, shares: np.ndarray) -> None:
    k = len(counts)
    for row, column in np.argwhere(counts > 0):
        share = shares[row, column]
        color = "white" if share > (0.45 if k <= _WITH_COUNTS else 0.25) else INK
        if k > _WITH_COUNTS:
            if share < 0.005:
                continue
            axes.text(column, row, f"{100 * share:.0f}", ha="center", va="center", fontsize=6.5, color=color)
            continue
        shown = f"{share:.1%}" if k <= 3 else f"{share:.0%}" if share >= 0.005 else "<1%"
        size = 12 if k <= 3 else 9 if k <= 7 else 8
        axes.text(column, row - 0.1, shown, ha="center", va="center", fontsize=size, color=color)
        axes.text(column, row + 0.24, counts[row, column], ha="center", va="center", fontsize=size * 0.72, color=color)
