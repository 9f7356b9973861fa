"""Numbers instead of labels."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float
from sklearn import metrics

from jaxvision.evaluation.checks import check_finite, checked_names
from jaxvision.evaluation.plain import plain


@dataclass(frozen=True)
class TargetScores:
    """The errors of one target, in its units; R2 has none, and is None where the target does not vary."""

    name: str
    mae: float
    rmse: float
    r2: float | None
    bias: float
    nll: float | None


@dataclass(frozen=True, eq=False, kw_only=True)
class RegressionResult:
    """How far predicted numbers are from the true ones.

    Attributes:
        target_names: in the order of the columns.
        per_target: the scores of each target.
        count: number of examples.
        mae: mean absolute error, over all targets.
        rmse: root of the mean squared error, over all targets.
        r2: share of the variance explained, mean of the targets that vary.
        bias: mean of predicted minus true.
        nll: mean negative log-likelihood of a target under the predicted Gaussian, in nats; with variances only.
        undefined: why a metric is None.
    """

    target_names: tuple[str, ...]
    per_target: tuple[TargetScores, ...]
    count: int
    mae: float
    rmse: float
    r2: float | None
    bias: float
    nll: float | None
    undefined: Mapping[str, str] = field(default_factory=dict)

    def rows(self) -> list[dict[str, Any]]:
        """One dict a target: target, mae, rmse, r2, bias, nll."""
        return [
            {"target": scores.name, **{key: value for key, value in asdict(scores).items() if key != "name"}}
            for scores in self.per_target
        ]

    def to_json(self) -> dict[str, Any]:
        """Everything as plain dicts, lists, numbers and None."""
        return plain({"kind": "regression", **vars(self), "per_target": self.rows()})


def evaluate_regression(
    targets: Float[np.ndarray, " n *d"],
    predictions: Float[np.ndarray, " n *d"],
    variances: Float[np.ndarray, " n *d"] | None = None,
    target_names: Sequence[str] | None = None,
) -> RegressionResult:
    """Measures a regression.

    Args:
        targets: the true values.
        predictions: the predicted values, of the same shape.
        variances: the predicted variances of a heteroscedastic network, of the same shape, positive.
        target_names: one a column; by default ``target`` or ``target 0``, ``target 1``, ...

    Raises:
        ValueError: the arrays do not fit together, or hold a value that is not finite or a variance that is not
            positive.
    """
    y = _columns(targets)
    p = _columns(predictions)
    if len(y) == 0:
        raise ValueError("there is no example to evaluate: targets are empty")
    if p.shape != y.shape:
        raise ValueError(f"predictions must have the targets' shape, {np.shape(targets)}, got {np.shape(predictions)}")
    check_finite(y, "targets")
    check_finite(p, "predictions")
    d = y.shape[1]
    names = checked_names(target_names or (["target"] if d == 1 else [f"target {i}" for i in range(d)]), d, "targets")
    nll = None if variances is None else _gaussian_nll(y, p, _columns(variances)).mean(axis=0)
    varies = [bool(np.ptp(y[:, i]) > 0) for i in range(d)]
    scores = tuple(
        TargetScores(
            name,
            mae=float(metrics.mean_absolute_error(y[:, i], p[:, i])),
            rmse=float(np.sqrt(metrics.mean_squared_error(y[:, i], p[:, i]))),
            r2=float(metrics.r2_score(y[:, i], p[:, i])) if varies[i] else None,
            bias=float((p[:, i] - y[:, i]).mean()),
            nll=None if nll is None else float(nll[i]),
        )
        for i, name in enumerate(names)
    )
    explained = [s.r2 for s in scores if s.r2 is not None]
    return RegressionResult(
        target_names=names,
        per_target=scores,
        count=len(y),
        mae=float(np.abs(p - y).mean()),
        rmse=float(np.sqrt(((p - y) ** 2).mean())),
        r2=float(np.mean(explained)) if explained else None,
        bias=float((p - y).mean()),
        nll=None if nll is None else float(nll.mean()),
        undefined={} if explained else {"r2": "no target varies"},
    )


def _columns(values: np.ndarray) -> Float[np.ndarray, "n d"]:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim not in (1, 2):
        raise ValueError(f"regression needs arrays of the shape (n,) or (n, d), got {array.shape}")
    return array[:, None] if array.ndim == 1 else array


def _gaussian_nll(targets: np.ndarray, means: np.ndarray, variances: np.ndarray) -> Float[np.ndarray, "n d"]:
    if variances.shape != targets.shape:
        raise ValueError(f"variances must have the targets' shape, {targets.shape}, got {variances.shape}")
    check_finite(variances, "variances")
    if variances.min() <= 0:
        raise ValueError(f"variances must be positive, got {variances.min():.4g}: pass variances, not their logarithms")
    return 0.5 * (np.log(2 * np.pi * variances) + (targets - means) ** 2 / variances)
