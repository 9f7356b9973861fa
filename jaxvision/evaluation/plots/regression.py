"""Predicted numbers against true ones."""

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from jaxvision.evaluation.plots.style import BLUE, MUTED, ORANGE, short, styled

_MOST_POINTS = 5_000


@styled
def residuals(targets: Float[np.ndarray, " n"], predictions: Float[np.ndarray, " n"], name: str) -> Figure:
    """Predicted against true values, and the histogram of the errors.

    Of more than 5000 examples the scatter shows 5000, evenly taken.

    Args:
        targets: the true values.
        predictions: the predicted ones.
        name: of the target, for the axes.
    """
    figure = Figure(figsize=(9, 3.8))
    left, right = figure.subplots(1, 2)
    step = -(-len(targets) // _MOST_POINTS)
    ends = [min(targets.min(), predictions.min()), max(targets.max(), predictions.max())]
    left.plot(ends, ends, color=ORANGE, linewidth=1, label="predicted = true")
    left.plot(targets[::step], predictions[::step], ".", color=BLUE, markersize=4, alpha=0.5, markeredgewidth=0)
    left.set(xlabel=f"true {short(name)}", ylabel=f"predicted {short(name)}", title="Predicted and true")
    left.legend(labelcolor=MUTED)
    errors = predictions - targets
    right.hist(errors, bins=min(50, max(5, int(len(errors) ** 0.5))), color=BLUE, alpha=0.85)
    right.axvline(0, color=ORANGE, linewidth=1)
    right.set(xlabel="predicted minus true", ylabel="examples", title="Errors")
    return figure
