"""Predicted intervals of numbers, against the truth."""

from collections.abc import Mapping
from statistics import NormalDist

import jax
import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from jaxvision.evaluation.plots.style import BLUE, CYCLE, FAINT, INK, MUTED, ORANGE, PAPER, short, styled
from jaxvision.uncertainty import metrics

_coverage_curve = jax.jit(metrics.coverage_curve)
_miscalibration_area = jax.jit(metrics.miscalibration_area)

_MOST_BARS = 300
_LEVELS = np.linspace(0, 1, 41)


@styled
def interval_coverage(
    targets: Float[np.ndarray, " n *d"],
    gaussians: Mapping[str, tuple[Float[np.ndarray, " n *d"], Float[np.ndarray, " n *d"]]],
) -> Figure:
    """Nominal against observed coverage of central intervals; on the diagonal they hold what they promise.

    The band is where 95 % of samples of as many examples lie if they do.

    Args:
        targets: the true values.
        gaussians: mean and variance, by name; the first is emphasised.
    """
    figure = Figure(figsize=(4.6, 4.3))
    axes = figure.subplots()
    half = 1.96 * np.sqrt(_LEVELS * (1 - _LEVELS) / len(targets))
    axes.fill_between(_LEVELS, _LEVELS - half, _LEVELS + half, color="#e6eaef", linewidth=0)
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1.2)
    for place, (name, (mean, variance)) in enumerate(gaussians.items()):
        levels, observed = _coverage_curve(mean, variance, targets, _LEVELS)
        area = float(_miscalibration_area(mean, variance, targets))
        width, order = (2.2, 4) if place == 0 else (1.4, 3)
        label = f"{short(name, 32)}, area {area:.3f}"
        color = (BLUE, ORANGE, INK, *CYCLE[2:])[place]
        axes.plot(levels, observed, color=color, label=label, linewidth=width, zorder=order)
    axes.text(0.03, 0.97, "intervals too wide", color=MUTED, fontsize=8, ha="left", va="top", bbox=PAPER, zorder=5)
    axes.text(0.97, 0.03, "intervals too narrow", color=MUTED, fontsize=8, ha="right", bbox=PAPER, zorder=5)
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xlabel="nominal coverage", ylabel="observed coverage")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1, decimals=0))
    figure.legend(loc="outside lower center", ncols=1, labelcolor=MUTED)
    return figure


@styled
def predicted_intervals(
    targets: Float[np.ndarray, " n"],
    mean: Float[np.ndarray, " n"],
    std: Float[np.ndarray, " n"],
    name: str,
    level: float = 0.9,
) -> Figure:
    """Predicted against true values, with an interval for each; those that miss the truth stand out.

    Of more than 300 examples the figure shows 300, evenly taken along the true values; the title counts all.

    Args:
        targets: the true values.
        mean: the predicted ones.
        std: their standard deviations.
        name: of the target, for the axes.
        level: of the intervals.
    """
    half = NormalDist().inv_cdf((1 + level) / 2) * std
    held = np.abs(targets - mean) <= half
    order = np.argsort(targets, kind="stable")
    shown = order[np.unique(np.linspace(0, len(order) - 1, min(len(order), _MOST_BARS)).round().astype(int))]
    figure = Figure(figsize=(5.2, 4.6))
    axes = figure.subplots()
    ends = [min(targets.min(), mean.min()), max(targets.max(), mean.max())]
    axes.plot(ends, ends, color=INK, linewidth=1, zorder=2)
    for kind, color, label in ((held, BLUE, "holds the truth"), (~held, ORANGE, "misses it")):
        rows = shown[kind[shown]]
        if len(rows):
            axes.errorbar(
                targets[rows], mean[rows], yerr=half[rows], fmt="o", color=color, markersize=2.6, elinewidth=0.7,
                alpha=0.65, markeredgewidth=0, label=label, zorder=3,
            )  # fmt: skip
    title = f"{level:.0%} intervals: {held.mean():.1%} hold the truth"
    axes.set(xlabel=f"true {short(name)}", ylabel=f"predicted {short(name)}", title=title)
    axes.legend(loc="upper left", labelcolor=MUTED)
    return figure
