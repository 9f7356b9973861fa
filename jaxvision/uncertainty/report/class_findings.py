"""What the rows of a classification say, in numbers."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jaxtyping import Bool, Float

from jaxvision.uncertainty import metrics
from jaxvision.uncertainty.conformal import ConformalIntervals, ConformalSets
from jaxvision.uncertainty.plots.selective import risk_coverage
from jaxvision.uncertainty.report.compare import Difference, paired_difference
from jaxvision.uncertainty.report.rows import PLAIN_SCORES, ClassRows, conformal_sets

if TYPE_CHECKING:
    from jaxvision.uncertainty.calibration import Calibrated

PLAIN = "deterministic softmax"
KEPT = (1.0, 0.9, 0.8, 0.7, 0.5)  # shares of the examples that are not sent to a person
DETECTION = {"auroc": "AUROC", "aupr": "AUPR", "fpr95": "FPR at 95 % TPR"}
_auroc = jax.jit(metrics.auroc)


@dataclass(frozen=True, eq=False)
class Method:
    """Class probabilities of all rows and their logarithms, however they were made."""

    probs: Float[np.ndarray, "n k"]
    log_probs: Float[np.ndarray, "n k"]


@dataclass(frozen=True, eq=False)
class ClassFindings:
    """Everything that a report on a classification shows.

    Attributes:
        rows: the predictions.
        main: the name of the method that is reported on.
        methods: it and the baselines, which come first.
        measured: the metrics of each method; empty without labels.
        difference: of the NLL, to the best baseline of the tuning rows; None without labels.
        scores: of each score its means and how well it finds errors.
        kept: the accuracy of the surest examples, for each share in `KEPT`: by confidence, by the network without
            dropout, and by the best order; empty without labels.
        outside: name and rows of the out-of-distribution data.
        detection: of each score, how well it tells them apart.
        sets: conformal sets.
        conformal: what they achieve.
    """

    rows: ClassRows
    main: str
    methods: Mapping[str, Method]
    measured: Mapping[str, Mapping[str, float]]
    difference: Difference | None
    scores: Mapping[str, Mapping[str, float | None]]
    kept: Mapping[str, tuple[float, ...]]
    outside: tuple[str, ClassRows] | None
    detection: Mapping[str, Mapping[str, float]]
    sets: Bool[np.ndarray, "n k"] | None
    conformal: Mapping[str, float]

    @property
    def wrong(self) -> Bool[np.ndarray, " n"]:
        """Where the prediction is not the label."""
        return self.rows.predicted != self.rows.labels

    def to_json(self) -> dict[str, Any]:
        """All the numbers."""
        rows = self.rows
        return {
            "kind": "classification",
            "rows": len(rows.probs),
            "class_names": rows.class_names,
            "num_samples": rows.num_samples,
            "flipped": int(rows.flipped.sum()),
            "standard_error": {"mean": rows.standard_error.mean(), "largest": rows.standard_error.max()},
            "main": self.main,
            "methods": self.measured,
            "nll_difference": None if self.difference is None else asdict(self.difference),
            "scores": self.scores,
            "accuracy_of_the_surest": {"kept": KEPT, **self.kept},
            "out_of_distribution": None
            if self.outside is None
            else {"name": self.outside[0], "rows": len(self.outside[1].probs), "scores": self.detection},
            "conformal": self.conformal or None,
        }


def class_findings(
    rows: ClassRows,
    calibration: "Calibrated | None",
    outside: tuple[str, ClassRows] | None,
    conformal: ConformalSets | ConformalIntervals | None,
) -> ClassFindings:
    """Measures everything.

    Raises:
        ValueError: conformal sets that do not fit the rows.
    """
    main = "MC dropout" if calibration is None else "MC dropout, calibrated"
    methods = {**_baselines(rows, calibration), main: Method(rows.probs, rows.log_probs)}
    sets = conformal_sets(rows, conformal)
    achieved: dict[str, float] = {}
    if isinstance(conformal, ConformalSets) and sets is not None:
        sizes = sets.sum(axis=1)
        achieved = {"alpha": conformal.alpha, "mean_size": float(sizes.mean()), "empty": float((sizes == 0).mean())}
    difference = None
    measured: dict[str, dict[str, float]] = {}
    kept: dict[str, tuple[float, ...]] = {}
    y = rows.labels
    if y is not None:
        measured = {name: _measure(method, rows) for name, method in methods.items()}
        rival = PLAIN if calibration is None else _best_baseline(calibration, methods)
        own = np.arange(len(y)), y
        ours, others = (-methods[name].log_probs[own] for name in (main, rival))
        difference = paired_difference(rival, ours, others, rows.example)
        kept = _kept(rows)
        if sets is not None:
            achieved["coverage"] = float(sets[own].mean())
    detection = {}
    if outside is not None:
        beyond = outside[1].scores()
        detection = {
            name: {key: float(value) for key, value in metrics.ood_metrics(score, beyond[name]).items()}
            for name, score in rows.scores().items()
        }
    scores = _scores(rows)
    return ClassFindings(rows, main, methods, measured, difference, scores, kept, outside, detection, sets, achieved)


def softened(log_probs: Float[np.ndarray, "n k"], exponent: float) -> Method:
    """Probabilities at another temperature: to the power of old over new, normalised, in float64."""
    logs = exponent * log_probs
    logs -= np.logaddexp.reduce(logs, axis=1, keepdims=True)
    return Method(np.exp(logs), logs)


def _baselines(rows: ClassRows, calibration: "Calibrated | None") -> dict[str, Method]:
    """What needs no passes. The deterministic probabilities come at the calibration's temperature."""
    if calibration is None:
        return {PLAIN: softened(rows.plain_log_probs, 1.0)}
    used = calibration.temperature or 1.0
    heats = {name: row["temperature"] for name, row in calibration.baselines.items() if row["rate"] is None}
    return {name: softened(rows.plain_log_probs, used / heat) for name, heat in heats.items() if heat is not None}


def _best_baseline(calibration: "Calibrated", methods: Mapping[str, Method]) -> str:
    known = {name: row["nll"] for name, row in calibration.baselines.items() if name in methods}
    losses = {name: np.inf if nll is None else nll for name, nll in known.items()}
    return min(losses, key=lambda name: losses[name])


def _measure(method: Method, rows: ClassRows) -> dict[str, float]:
    found = metrics.classification_metrics(method.probs, rows.labels, log_probs=method.log_probs)
    return {name: float(value) for name, value in found.items()}


def _scores(rows: ClassRows) -> dict[str, dict[str, float | None]]:
    """Each score's mean, and with labels where right and wrong, AURC, and the AUROC of wrong against right.

    The scores without dropout are held against the errors of the network without dropout.
    """
    found = {}
    for name, score in rows.scores().items():
        numbers: dict[str, float | None] = {"mean": float(score.mean())}
        if rows.labels is not None:
            said = rows.plain.argmax(axis=1) if name in PLAIN_SCORES else rows.predicted
            wrong = said != rows.labels
            both = bool(wrong.any() and not wrong.all())
            numbers |= {
                "mean_right": float(score[~wrong].mean()) if not wrong.all() else None,
                "mean_wrong": float(score[wrong].mean()) if wrong.any() else None,
                "auroc": float(_auroc(score[~wrong], score[wrong])) if both else None,
                "aurc": (aurc := _aurc(score, wrong)),
                "e_aurc": max(aurc - _aurc(wrong.astype(np.float64), wrong), 0.0),
            }
        found[name] = numbers
    return found


def _aurc(score: np.ndarray, wrong: np.ndarray) -> float:
    return float(np.asarray(risk_coverage(score, wrong.astype(np.float64)).risk).mean())


def _kept(rows: ClassRows) -> dict[str, tuple[float, ...]]:
    wrong, plain_wrong = (
        (said != rows.labels).astype(np.float64) for said in (rows.predicted, rows.plain.argmax(axis=1))
    )
    orders = {
        "by confidence": (1 - rows.confidence, wrong),
        "by mutual information": (rows.mutual_information, wrong),
        "by confidence, without dropout": (1 - rows.plain.max(axis=1), plain_wrong),
        "best order": (wrong, wrong),
    }
    places = [int(np.ceil(share * len(wrong))) - 1 for share in KEPT]
    curves = {name: 1 - np.asarray(risk_coverage(*order).risk) for name, order in orders.items()}
    return {name: tuple(float(curve[place]) for place in places) for name, curve in curves.items()}
