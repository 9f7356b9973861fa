"""What the rows of a regression say, in numbers."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from jaxvision.uncertainty import metrics
from jaxvision.uncertainty.conformal import ConformalIntervals, ConformalSets
from jaxvision.uncertainty.plots.selective import risk_coverage
from jaxvision.uncertainty.report.class_findings import KEPT
from jaxvision.uncertainty.report.compare import Difference, paired_difference
from jaxvision.uncertainty.report.rows import NumberRows, conformal_intervals
from jaxvision.uncertainty.scale import Scale

if TYPE_CHECKING:
    from jaxvision.uncertainty.calibration import Calibrated

LEVEL = 0.9
CONSTANT, HINDSIGHT = "constant variance", "constant variance, in hindsight"
UNSCALED = "MC dropout, not scaled"


@dataclass(frozen=True, eq=False)
class Gaussians:
    """Mean and variance of all rows, however they were made."""

    mean: Float[np.ndarray, "n d"]
    variance: Float[np.ndarray, "n d"]


@dataclass(frozen=True, eq=False)
class NumberFindings:
    """Everything that a report on a regression shows.

    Attributes:
        rows: the predictions.
        main: the name of the method that is reported on.
        methods: it and the baselines, which come first.
        measured: the metrics of each method, over all targets; empty without labels.
        per_target: the metrics of the main method for each target; empty without labels.
        difference: of the NLL, to a constant variance; None without labels.
        correlation: Spearman's, of error and standard deviation, over examples; None if one of them does not vary.
        kept: the RMSE of the surest examples, for each share in `KEPT`; empty without labels.
        outside: name and rows of the out-of-distribution data.
        detection: of each score, how well it tells them apart.
        intervals: conformal ones, low and high.
        conformal: what they achieve.
    """

    rows: NumberRows
    main: str
    methods: Mapping[str, Gaussians]
    measured: Mapping[str, Mapping[str, float]]
    per_target: Mapping[str, Mapping[str, float]]
    difference: Difference | None
    correlation: float | None
    kept: Mapping[str, tuple[float, ...]]
    outside: tuple[str, NumberRows] | None
    detection: Mapping[str, Mapping[str, float]]
    intervals: tuple[Float[np.ndarray, "n d"], Float[np.ndarray, "n d"]] | None
    conformal: Mapping[str, float]

    @property
    def squares(self) -> Float[np.ndarray, " n"]:
        """See `squared_errors`."""
        return squared_errors(self.rows)

    def to_json(self) -> dict[str, Any]:
        """All the numbers."""
        rows = self.rows
        return {
            "kind": "regression",
            "rows": len(rows.mean),
            "target_names": rows.target_names,
            "num_samples": rows.num_samples,
            "main": self.main,
            "methods": self.measured,
            "per_target": self.per_target,
            "nll_difference": None if self.difference is None else asdict(self.difference),
            "spearman_of_error_and_std": self.correlation,
            "mean_variance": {
                "epistemic": rows.epistemic.mean(axis=0),
                "aleatoric": None if rows.aleatoric is None else rows.aleatoric.mean(axis=0),
            },
            "rmse_of_the_surest": {"kept": KEPT, **self.kept},
            "out_of_distribution": None
            if self.outside is None
            else {"name": self.outside[0], "rows": len(self.outside[1].mean), "scores": self.detection},
            "conformal": self.conformal or None,
        }


def number_findings(
    rows: NumberRows,
    calibration: "Calibrated | None",
    outside: tuple[str, NumberRows] | None,
    conformal: ConformalSets | ConformalIntervals | None,
) -> NumberFindings:
    """Measures everything.

    Raises:
        ValueError: conformal intervals that do not fit the rows.
    """
    main = "MC dropout" if calibration is None else "MC dropout, calibrated"
    methods = {**_baselines(rows, calibration), main: Gaussians(rows.mean, rows.variance)}
    intervals = conformal_intervals(rows, conformal)
    achieved: dict[str, float] = {}
    if isinstance(conformal, ConformalIntervals) and intervals is not None:
        low, high = intervals
        achieved = {"alpha": conformal.alpha, "mean_width": float((high - low).mean())}
    measured: dict[str, dict[str, float]] = {}
    per_target: dict[str, dict[str, float]] = {}
    kept: dict[str, tuple[float, ...]] = {}
    difference, correlation = None, None
    if rows.targets is not None:
        y = rows.targets
        measured = {name: _measure(method, y) for name, method in methods.items()}
        single = y.shape[1] == 1
        per_target = {
            name: measured[main] if single else _measure(Gaussians(rows.mean[:, [i]], rows.variance[:, [i]]), y[:, [i]])
            for i, name in enumerate(rows.target_names)
        }
        rival = next(iter(methods))
        own, others = (_losses(methods[name], y) for name in (main, rival))
        difference = paired_difference(rival, own, others, np.arange(len(y)))
        squares = squared_errors(rows)
        score = rows.scores()["standard deviation"]
        correlation = _spearman(np.sqrt(squares), score)
        kept = _kept(score, squares)
        if intervals is not None:
            achieved["coverage"] = float(((intervals[0] <= y) & (y <= intervals[1])).mean())
    detection = {}
    if outside is not None:
        # In the units of the data: the spread of the others is part of what makes them others.
        theirs = outside[1].scores(rows.units)
        detection = {
            name: {key: float(value) for key, value in metrics.ood_metrics(score, theirs[name]).items()}
            for name, score in rows.scores().items()
        }
    return NumberFindings(
        rows,
        main,
        methods,
        measured,
        per_target,
        difference,
        correlation,
        kept,
        outside,
        detection,
        intervals,
        achieved,
    )


def squared_errors(rows: NumberRows) -> Float[np.ndarray, " n"]:
    """Squared errors of the examples, in `NumberRows.units`, mean over the targets.

    Raises:
        ValueError: the truth is not known.
    """
    if rows.targets is None:
        raise ValueError("there are no errors without labels")
    squares: Float[np.ndarray, " n"] = (((rows.targets - rows.mean) / rows.units) ** 2).mean(axis=1)
    return squares


def _baselines(rows: NumberRows, calibration: "Calibrated | None") -> dict[str, Gaussians]:
    """A constant variance, from the tuning rows if there are any; and the passes' own variance, before the scale."""
    if calibration is None:
        if rows.targets is None:
            return {}
        best = ((rows.targets - rows.deterministic) ** 2).mean(axis=0)
        return {HINDSIGHT: Gaussians(rows.deterministic, np.broadcast_to(best, rows.mean.shape))}
    found = {}
    constants = [c.scale for c in calibration.candidates if c.baseline and c.scale and c.scale.kind == "constant"]
    for scale in constants:
        variance = scale.variance(np.zeros(rows.mean.shape))
        found[CONSTANT] = Gaussians(rows.deterministic, variance)
    unscaled = _unscaled(rows, calibration.scale, calibration.task == "heteroscedastic")
    if unscaled is not None:
        found[UNSCALED] = Gaussians(rows.mean, unscaled)
    return found


def _unscaled(rows: NumberRows, scale: Scale | None, heteroscedastic: bool) -> Float[np.ndarray, "n d"] | None:
    """The variance before the scale; None if the scale has lost it."""
    if scale is None or np.min(scale.factor) <= 0 or np.min(scale.power) <= 0:
        return None
    variance: Float[np.ndarray, "n d"] = (rows.epistemic / np.asarray(scale.factor)) ** (1 / np.asarray(scale.power))
    if not heteroscedastic:
        return variance
    if rows.aleatoric is None or np.min(scale.offset) <= 0:
        return None
    return variance + rows.aleatoric / np.asarray(scale.offset)


def _measure(method: Gaussians, y: Float[np.ndarray, "n d"]) -> dict[str, float]:
    found = metrics.regression_metrics(method.mean, method.variance, y, level=LEVEL)
    return {name: float(value) for name, value in found.items()}


def _losses(method: Gaussians, y: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
    with np.errstate(divide="ignore", invalid="ignore"):
        losses = (np.log(2 * np.pi * method.variance) + (y - method.mean) ** 2 / method.variance) / 2
    mean: Float[np.ndarray, " n"] = losses.mean(axis=1)
    return mean


def _spearman(errors: Float[np.ndarray, " n"], score: Float[np.ndarray, " n"]) -> float | None:
    if len(errors) < 2 or not np.ptp(errors) or not np.ptp(score):
        return None
    return float(np.corrcoef(np.stack([_ranks(errors), _ranks(score)]))[0, 1])


def _ranks(values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Ranks, equals sharing the mean of theirs."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: Float[np.ndarray, " n"] = (np.cumsum(counts) - (counts - 1) / 2)[place]
    return ranks


def _kept(score: Float[np.ndarray, " n"], squares: Float[np.ndarray, " n"]) -> dict[str, tuple[float, ...]]:
    places = [int(np.ceil(share * len(squares))) - 1 for share in KEPT]
    curves = {
        "least certain removed": risk_coverage(score, squares).risk,
        "largest errors removed": risk_coverage(squares, squares).risk,
    }
    return {name: tuple(float(np.sqrt(curve[place])) for place in places) for name, curve in curves.items()}
