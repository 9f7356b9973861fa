"""Figures of results, one function each; they return a matplotlib `Figure`, which `save` writes.

No pyplot: nothing global is left behind, and no window is ever opened.
"""

from jaxvision.evaluation.plots.bars import average_precision_bars, comparison_bars, recall_bars
from jaxvision.evaluation.plots.curves import training_curves
from jaxvision.evaluation.plots.matrix import confusion_matrix
from jaxvision.evaluation.plots.pictures import picture_grid
from jaxvision.evaluation.plots.ranking import precision_recall_curves, roc_curves, threshold_curves
from jaxvision.evaluation.plots.regression import residuals
from jaxvision.evaluation.plots.reliability import reliability_diagram
from jaxvision.evaluation.plots.style import save

__all__ = [
    "average_precision_bars",
    "comparison_bars",
    "confusion_matrix",
    "picture_grid",
    "precision_recall_curves",
    "recall_bars",
    "reliability_diagram",
    "residuals",
    "roc_curves",
    "save",
    "threshold_curves",
    "training_curves",
]
