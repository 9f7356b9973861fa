"""How the likelihood depends on the dropout rate."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from jaxvision.evaluation.plots.style import BLUE, CYCLE, FAINT, INK, MUTED, ORANGE, short, styled

_TICKS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)


@dataclass(frozen=True)
class Level:
    """Something without a rate, as a horizontal line: its name and its NLL."""

    name: str
    nll: float


@dataclass(frozen=True)
class Point:
    """A competitor at its own rate: its name, the rate and its NLL."""

    name: str
    rate: float
    nll: float


@styled
def nll_over_rate(
    name: str,
    rates: Float[np.ndarray, " r"],
    nll: Float[np.ndarray, " r"],
    chosen: float,
    levels: Sequence[Level] = (),
    points: Sequence[Point] = (),
) -> Figure:
    """The likelihood at every rate that was tried, the chosen rate, and what it has to beat.

    Values far above the rest are cut off, so that the minimum can be seen.

    Args:
        name: of the curve.
        rates: that were tried.
        nll: mean negative log-likelihood at each; NaN where none could be fitted.
        chosen: the rate that was taken.
        levels: baselines without a rate.
        points: other ways, each at its best rate.
    """
    figure = Figure(figsize=(8.2, 3.7))
    axes = figure.subplots()
    order = np.argsort(rates)
    rates, nll = np.asarray(rates, np.float64)[order], np.asarray(nll, np.float64)[order]
    axes.set_xscale("log")
    axes.plot(rates, nll, "-o", color=BLUE, markersize=3.5, linewidth=2, zorder=4)
    best = float(nll[np.argmin(np.abs(np.log(rates / chosen)))])
    axes.plot(chosen, best, "o", color="white", markeredgecolor=BLUE, markeredgewidth=2, markersize=9, zorder=6)
    axes.axvline(chosen, color=FAINT, linewidth=1, zorder=1)
    labels = [(best, f"{short(name, 44)}: {best:.4g} at {chosen:g}", BLUE)]
    for place, level in enumerate(levels):
        color = (ORANGE, INK, CYCLE[3])[place % 3]
        axes.axhline(level.nll, color=color, linewidth=1.3, linestyle="--", zorder=3)
        labels.append((level.nll, f"{short(level.name, 44)}: {level.nll:.4g}", color))
    for point in points:
        axes.plot(point.rate, point.nll, "D", color=MUTED, markersize=4, zorder=5)
        labels.append((point.nll, f"{short(point.name, 44)}: {point.nll:.4g} at {point.rate:g}", MUTED))
    low, high = _limits(nll, [value for value, *_ in labels])
    axes.set(ylim=(low, high), xlim=(rates[0] / 1.15, rates[-1] * 1.15))
    axes.set(xlabel="dropout rate", ylabel="NLL on the tuning rows, in nats")
    axes.set_xticks([tick for tick in _TICKS if rates[0] / 1.15 <= tick <= rates[-1] * 1.15])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    shown = [(value, text, color) for value, text, color in labels if low <= value <= high]
    heights = _spread([(value - low) / (high - low) for value, *_ in shown])
    for height, (_, text, color) in zip(heights, shown, strict=True):
        axes.text(1.015, height, text, transform=axes.transAxes, color=color, fontsize=8, va="center")
    return figure


def _limits(curve: np.ndarray, marks: Sequence[float]) -> tuple[float, float]:
    """What is shown: all marks and the lower three quarters of the curve, unless that hides the minimum."""
    known = curve[np.isfinite(curve)]
    marks = [mark for mark in marks if np.isfinite(mark)]
    low = min(float(known.min()), *marks)
    tops = sorted([*marks, float(np.quantile(known, 0.75)), float(known.max())])
    middle = tops[len(tops) // 2]
    high = max((top for top in tops if top - low <= 5 * (middle - low)), default=low)
    margin = 0.08 * (high - low) or 0.05 * abs(low) or 0.1
    return low - margin, high + margin


def _spread(places: Sequence[float], gap: float = 0.075) -> list[float]:
    """The places moved apart, so that each label has room, and no further than need be."""
    order = np.argsort(places, kind="stable")
    groups: list[tuple[float, list[int]]] = []  # labels that touch stand around their mean
    for index in order.tolist():
        groups.append((places[index], [index]))
        while len(groups) > 1:
            (below, first), (above, second) = groups[-2:]
            if above - below >= gap * (len(first) + len(second)) / 2:
                break
            both = first + second
            groups[-2:] = [((below * len(first) + above * len(second)) / len(both), both)]
    moved = [0.0] * len(places)
    for centre, members in groups:
        for rank, index in enumerate(members):
            moved[index] = centre + gap * (rank - (len(members) - 1) / 2)
    return moved
