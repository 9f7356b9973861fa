"""Confidence against accuracy."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from jaxvision.evaluation.calibration import Reliability
from jaxvision.evaluation.intervals import wilson_interval
from jaxvision.evaluation.plots.style import BLUE, FAINT, MUTED, styled


@styled
def reliability_diagram(bins: Reliability) -> Figure:
    """The accuracy of each bin at its mean confidence, with its 95 % interval, and how many examples the bins hold.

    Below the diagonal the probabilities promise too much, above it too little.
    """
    figure = Figure(figsize=(4.4, 4.6))
    top, bottom = figure.subplots(2, 1, height_ratios=(4, 1), sharex=True)
    draw_reliability(top, bottom, bins, "Reliability")
    top.legend(loc="best", labelcolor=MUTED)
    return figure


def draw_reliability(top: Axes, bottom: Axes, bins: Reliability, title: str) -> None:
    """One diagram in the given axes; the title gets the calibration error."""
    filled = bins.counts > 0
    counts, accuracy, confidence = bins.counts[filled], bins.accuracy[filled], bins.confidence[filled]
    low, high = wilson_interval(np.round(accuracy * counts), counts)
    whiskers = np.maximum(np.stack([accuracy - low, high - accuracy]), 0)
    top.plot([0, 1], [0, 1], color=FAINT, linewidth=1.2, label="confidence = accuracy")
    top.errorbar(confidence, accuracy, yerr=whiskers, fmt="o", color=BLUE, ecolor=BLUE, elinewidth=1, markersize=5,
                 label="bin, with its 95 % interval")  # fmt: skip
    top.set(xlim=(0, 1.01), ylim=(0, 1.01), ylabel="accuracy", title=f"{title}: ECE {bins.ece:.3f}")
    width = float(bins.edges[1] - bins.edges[0])
    middle = (bins.edges[:-1] + bins.edges[1:]) / 2
    bottom.bar(middle, bins.counts / bins.counts.sum(), width=0.86 * width, color="#9fb3c4")
    bottom.set(xlabel="confidence in the predicted class", ylabel="examples")
    bottom.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
