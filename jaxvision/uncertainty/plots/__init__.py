"""Figures of uncertainty, one function each, in the style of `jaxvision.evaluation.plots`, whose `save` writes them."""

from jaxvision.uncertainty.plots.histograms import uncertainty_histograms
from jaxvision.uncertainty.plots.intervals import interval_coverage, predicted_intervals
from jaxvision.uncertainty.plots.rates import Level, Point, nll_over_rate
from jaxvision.uncertainty.plots.reliability import reliability_comparison
from jaxvision.uncertainty.plots.selective import error_coverage, sparsification_curve

__all__ = [
    "Level",
    "Point",
    "error_coverage",
    "interval_coverage",
    "nll_over_rate",
    "predicted_intervals",
    "reliability_comparison",
    "sparsification_curve",
    "uncertainty_histograms",
]
