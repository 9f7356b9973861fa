"""How sure is a trained network? Post-hoc Monte-Carlo dropout, tuned and calibrated (Ledda, Fumera and Roli 2023).

`inject` makes sites of a trained network stochastic, `Net.predict` says how sure it is, `tune` chooses rate and scale.
Plots and the report are imported by their own names: `jaxvision.uncertainty.plots`, `jaxvision.uncertainty.report`.
"""

from jaxvision.uncertainty import conformal, metrics
from jaxvision.uncertainty.adapters import drop, from_callable, from_function, from_linen, mark
from jaxvision.uncertainty.calibration import Calibrated
from jaxvision.uncertainty.calibration_file import CalibrationError, load_calibration
from jaxvision.uncertainty.candidates import Candidate
from jaxvision.uncertainty.draw import SiteError
from jaxvision.uncertainty.inject import inject
from jaxvision.uncertainty.net import Net
from jaxvision.uncertainty.overlap import OverlapError
from jaxvision.uncertainty.plan import Plan, SiteSpec
from jaxvision.uncertainty.results import ClassificationPrediction, Moments, Prediction, RegressionPrediction
from jaxvision.uncertainty.scale import Scale, ScaleError
from jaxvision.uncertainty.scale_fit import fit_scale
from jaxvision.uncertainty.tune import RATES, tune

__all__ = [
    "RATES",
    "Calibrated",
    "CalibrationError",
    "Candidate",
    "ClassificationPrediction",
    "Moments",
    "Net",
    "OverlapError",
    "Plan",
    "Prediction",
    "RegressionPrediction",
    "Scale",
    "ScaleError",
    "SiteError",
    "SiteSpec",
    "conformal",
    "drop",
    "fit_scale",
    "from_callable",
    "from_function",
    "from_linen",
    "inject",
    "load_calibration",
    "mark",
    "metrics",
    "tune",
]
