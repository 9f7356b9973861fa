"""Metrics of uncertain predictions: pure functions of arrays, for `jax.jit` too, computed in float32.

Static options are keywords. There are no weights: leave padding out before the call. Shapes are checked, also under
`jax.jit`; values that make no sense (NaN, a label out of range) make the result NaN.
"""

from jaxvision.uncertainty.metrics.classification import accuracy, brier, ece, errors, nll, nll_from_logs, uce
from jaxvision.uncertainty.metrics.entropy import (
    expected_entropy,
    mutual_information,
    predictive_entropy,
    variation_ratio,
)
from jaxvision.uncertainty.metrics.ood import aupr, auroc, fpr95
from jaxvision.uncertainty.metrics.regression import (
    crps,
    gaussian_interval,
    gaussian_nll,
    interval_coverage,
    interval_score,
    mpiw,
    nll_skill,
    picp,
    pinball,
    rmse,
)
from jaxvision.uncertainty.metrics.regression_calibration import (
    CoverageCurve,
    coverage_curve,
    ence,
    miscalibration_area,
    regression_uce,
)
from jaxvision.uncertainty.metrics.selective import (
    AccuracyCoverage,
    RiskCoverage,
    accuracy_coverage,
    augrc,
    aurc,
    coverage_at_risk,
    e_aurc,
    risk_coverage,
)
from jaxvision.uncertainty.metrics.sparsification import Sparsification, aurg, ause, sparsification
from jaxvision.uncertainty.metrics.summary import classification_metrics, ood_metrics, regression_metrics

__all__ = [
    "AccuracyCoverage",
    "CoverageCurve",
    "RiskCoverage",
    "Sparsification",
    "accuracy",
    "accuracy_coverage",
    "augrc",
    "aupr",
    "aurc",
    "aurg",
    "auroc",
    "ause",
    "brier",
    "classification_metrics",
    "coverage_at_risk",
    "coverage_curve",
    "crps",
    "e_aurc",
    "ece",
    "ence",
    "errors",
    "expected_entropy",
    "fpr95",
    "gaussian_interval",
    "gaussian_nll",
    "interval_coverage",
    "interval_score",
    "miscalibration_area",
    "mpiw",
    "mutual_information",
    "nll",
    "nll_from_logs",
    "nll_skill",
    "ood_metrics",
    "picp",
    "pinball",
    "predictive_entropy",
    "regression_metrics",
    "regression_uce",
    "risk_coverage",
    "rmse",
    "sparsification",
    "uce",
    "variation_ratio",
]
