"""How uncertainty is spread over examples, of two kinds of them for instance."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from jaxvision.evaluation.plots.style import BLUE, MUTED, ORANGE, short, styled

_BINS = 30


@styled
def uncertainty_histograms(
    panels: Mapping[str, Mapping[str, Float[np.ndarray, " _"]]], titles: Mapping[str, str] | None = None
) -> Figure:
    """Histograms of one or two groups of examples, each group's bars adding up to 100 %.

    Args:
        panels: for each quantity (the axis' label) the values of each group, by the group's name; at most two groups.
        titles: of panels.
    """
    figure = Figure(figsize=(4.5 * len(panels), 3.4))
    every = figure.subplots(1, len(panels), squeeze=False).flat
    for axes, (quantity, groups) in zip(every, panels.items(), strict=True):
        top = max(float(values.max()) for values in groups.values() if len(values))
        edges = np.linspace(0, top or 1.0, _BINS + 1)
        for (name, values), color in zip(groups.items(), (BLUE, ORANGE), strict=False):
            if not len(values):
                continue
            weights = np.full(len(values), 1 / len(values))
            label = f"{short(name)} ({len(values)})"
            axes.hist(values, edges, weights=weights, histtype="stepfilled", color=color, alpha=0.22)
            axes.hist(values, edges, weights=weights, histtype="step", color=color, linewidth=1.5, label=label)
            axes.axvline(
                float(values.mean()), color=color, linewidth=1.2, linestyle="--", label=f"mean of {short(name)}"
            )
        axes.set(xlim=(0, edges[-1]), xlabel=quantity, ylabel="share of the group")
        if titles and quantity in titles:
            axes.set_title(titles[quantity])
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    named = {
        label: handle for axes in figure.axes for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(named.values(), named.keys(), loc="outside lower center", ncols=4, labelcolor=MUTED)
    return figure
