"""How sure is a trained network? Post-hoc Monte-Carlo dropout, tuned and calibrated (Ledda, Fumera and Roli 2023)."""

from jaxvision.uncertainty import conformal, metrics
from jaxvision.uncertainty.draw import SiteError
from jaxvision.uncertainty.inject import inject
from jaxvision.uncertainty.net import Net
from jaxvision.uncertainty.plan import Plan, SiteSpec
from jaxvision.uncertainty.results import ClassificationPrediction, Moments, Prediction, RegressionPrediction

__all__ = [
    "ClassificationPrediction",
    "Moments",
    "Net",
    "Plan",
    "Prediction",
    "RegressionPrediction",
    "SiteError",
    "SiteSpec",
    "conformal",
    "inject",
    "metrics",
]
