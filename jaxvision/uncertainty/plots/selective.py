"""What is gained by leaving out the least certain examples."""

from collections.abc import Mapping

import jax
import numpy as np
from jaxtyping import Float, Shaped
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from jaxvision.evaluation.plots.style import BLUE, CYCLE, INK, MUTED, PAPER, short, styled
from jaxvision.uncertainty import metrics

# Compiled as one: a report draws and counts many curves of the same length.
risk_coverage = jax.jit(metrics.risk_coverage)

_FIRST = 0.05  # of the coverage: what lies below is the error of a handful of examples


@styled
def error_coverage(
    errors: Shaped[np.ndarray, " n"], scores: Mapping[str, Float[np.ndarray, " n"]], kept: float = 0.8
) -> Figure:
    """Risk-coverage curves (El-Yaniv and Wiener 2010): the error of the most certain examples, over their share.

    Between the best order of these very errors and a random one.

    Args:
        errors: 1 where the prediction is wrong, else 0.
        scores: uncertainties to order by, higher meaning less sure, by name; the first is emphasised.
        kept: a share that is marked on the first curve.
    """
    figure = Figure(figsize=(6.6, 3.7))
    axes = figure.subplots()
    overall = float(errors.mean())
    highest = overall
    for place, (name, score) in enumerate(scores.items()):
        coverage, risk = (np.asarray(values) for values in risk_coverage(score, errors))
        label = f"{short(name, 34)}, AURC {risk.mean():.4f}"
        width, order = (2.2, 5) if place == 0 else (1.4, 4)
        axes.plot(coverage, risk, color=CYCLE[place % len(CYCLE)], linewidth=width, label=label, zorder=order)
        highest = max(highest, float(risk[coverage >= min(4 * _FIRST, 1)].max()))
        if place == 0:
            at = int(np.ceil(kept * len(risk))) - 1
            axes.plot(coverage[at], risk[at], "o", color="white", markeredgecolor=BLUE, markersize=6, zorder=6)
            axes.annotate(
                f"{risk[at]:.1%} of the surest {kept:.0%}", (coverage[at], risk[at]), (-8, 8),
                textcoords="offset points", ha="right", color=BLUE, fontsize=8, zorder=6, bbox=PAPER,
            )  # fmt: skip
    coverage, oracle = (np.asarray(values) for values in risk_coverage(errors, errors))
    axes.axhline(overall, color=MUTED, linewidth=1, linestyle=":", label=f"random order, AURC {overall:.4f}", zorder=2)
    axes.plot(
        coverage,
        oracle,
        color=INK,
        linewidth=1,
        linestyle="--",
        label=f"best order, AURC {oracle.mean():.4f}",
        zorder=3,
    )
    axes.set(xlim=(0, 1.005), ylim=(0, 1.15 * highest or 0.01), xlabel="share of examples kept, surest first")
    axes.set_ylabel("error of those kept")
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), labelcolor=MUTED)
    return figure


@styled
def sparsification_curve(squares: Float[np.ndarray, " n"], score: Float[np.ndarray, " n"], unit: str) -> Figure:
    """Sparsification (Ilg et al. 2018, section 4.2): the RMSE of what is left as the least certain are removed.

    Between removing the largest errors first and removing at random.

    Args:
        squares: squared errors.
        score: the uncertainty to order by, higher meaning less sure.
        unit: of the error, for the axis.
    """
    figure = Figure(figsize=(4.6, 3.7))
    axes = figure.subplots()
    removed = np.arange(len(squares)) / len(squares)
    error, oracle = (np.sqrt(np.asarray(risk_coverage(s, squares).risk)[::-1]) for s in (score, squares))
    axes.axhline(error[0], color=MUTED, linewidth=1, linestyle=":", label="at random")
    shown = removed <= 1 - _FIRST  # beyond it, the error of a handful
    label = f"least certain first, AUSE {(error - oracle).mean() / (oracle[0] or 1):.3f}"
    axes.plot(removed[shown], error[shown], color=BLUE, linewidth=2.2, label=label)
    axes.plot(removed, oracle, color=INK, linewidth=1, linestyle="--", label="largest errors first")
    highest = max(float(error[shown].max()), float(error[0]))
    axes.set(xlim=(0, 1), ylim=(0, 1.35 * highest or 1), xlabel="share of examples removed")
    axes.set_ylabel(f"RMSE of the rest, {short(unit)}")
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.legend(loc="upper right", labelcolor=MUTED)
    return figure
