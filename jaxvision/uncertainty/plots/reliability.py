"""Confidence against accuracy, of several predictions of the same examples."""

from collections.abc import Mapping

from matplotlib.figure import Figure

from jaxvision.evaluation.calibration import Reliability
from jaxvision.evaluation.plots.reliability import draw_reliability
from jaxvision.evaluation.plots.style import MUTED, styled


@styled
def reliability_comparison(diagrams: Mapping[str, Reliability]) -> Figure:
    """Reliability diagrams side by side, such as before and after calibration; see `reliability`.

    Args:
        diagrams: by what they are of; at least one.
    """
    figure = Figure(figsize=(3.5 * len(diagrams) + 0.4, 4.2))
    axes = figure.subplots(2, len(diagrams), height_ratios=(4, 1), sharex=True, sharey="row", squeeze=False)
    for place, (name, bins) in enumerate(diagrams.items()):
        top, bottom = axes[:, place]
        draw_reliability(top, bottom, bins, name)
        bottom.set_xlabel("confidence")
        if place:
            top.set_ylabel("")
            bottom.set_ylabel("")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, labelcolor=MUTED)
    axes[0, 0].set_ylabel("accuracy")
    return figure
