"""Where to cut a binary classifier's probabilities: chosen on validation data, used on test data."""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from jaxvision.evaluation.checks import check_finite, check_unit_interval, checked_labels
from jaxvision.paths import suggestion

CRITERIA = ("f1", "youden", "balanced_accuracy", "recall>=0.95", "specificity>=0.95", "precision>=0.9", "cost:FN/FP=10")
_CONSTRAINT = re.compile(r"(recall|specificity|precision)\s*>=\s*([0-9.eE+-]+)")
_COST = re.compile(r"cost:\s*FN\s*/\s*FP\s*=\s*([0-9.eE+-]+)", re.IGNORECASE)


class ThresholdError(ValueError):
    """No threshold can be chosen: an unknown criterion, one that no threshold meets, or data that cannot decide."""


@dataclass(frozen=True)
class OperatingPoint:
    """What one threshold does to labelled examples; "positive" means a probability of at least the threshold.

    Attributes:
        tp: positive examples called positive.
        fp: negative examples called positive.
        fn: positive examples called negative.
        tn: negative examples called negative.
    """

    tp: int
    fp: int
    fn: int
    tn: int

    @property
    def precision(self) -> float | None:
        """Share of the examples called positive that are; None if none was called so."""
        return _share(self.tp, self.tp + self.fp)

    @property
    def recall(self) -> float | None:
        """Share of the positive examples that were found; None without any. Also called sensitivity."""
        return _share(self.tp, self.tp + self.fn)

    @property
    def specificity(self) -> float | None:
        """Share of the negative examples that were called so; None without any."""
        return _share(self.tn, self.tn + self.fp)

    @property
    def f1(self) -> float | None:
        """Harmonic mean of precision and recall; None without a positive example or call."""
        return _share(2 * self.tp, 2 * self.tp + self.fp + self.fn)

    @property
    def accuracy(self) -> float | None:
        """Share of the examples called rightly; None without any."""
        return _share(self.tp + self.tn, self.tp + self.fp + self.fn + self.tn)

    @property
    def balanced_accuracy(self) -> float | None:
        """Mean of recall and specificity; None where one of them is."""
        recall, specificity = self.recall, self.specificity
        return None if recall is None or specificity is None else (recall + specificity) / 2

    def to_json(self) -> dict[str, Any]:
        """Counts and rates."""
        rates = ("precision", "recall", "specificity", "f1", "accuracy", "balanced_accuracy")
        return {**vars(self), **{rate: getattr(self, rate) for rate in rates}}


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


@dataclass(frozen=True)
class Threshold:
    """A chosen threshold.

    Attributes:
        value: an example is positive from this probability on.
        criterion: what it was chosen by.
        achieved: what it does to the examples it was chosen on.
    """

    value: float
    criterion: str
    achieved: OperatingPoint

    def to_json(self) -> dict[str, Any]:
        """The threshold, its criterion and what it achieved."""
        return {"value": self.value, "criterion": self.criterion, "achieved": self.achieved.to_json()}


def operating_point(
    labels: Int[np.ndarray, " n"], probabilities: Float[np.ndarray, " n"], threshold: float
) -> OperatingPoint:
    """What a threshold does.

    Args:
        labels: 1 for positive, 0 for negative.
        probabilities: of being positive.
        threshold: positive from here on.
    """
    positive = np.asarray(labels) == 1
    called = np.asarray(probabilities, dtype=np.float64) >= threshold
    counts = (positive & called, ~positive & called, positive & ~called, ~positive & ~called)
    return OperatingPoint(*(int(count.sum()) for count in counts))


def choose_threshold(
    labels: Int[np.ndarray, " n"], probabilities: Float[np.ndarray, " n"], criterion: str = "f1"
) -> Threshold:
    """Chooses a threshold on validation data. On test data it would flatter the result.

    The threshold lies midway between two neighbouring probabilities, so that it does not hang on the last digit of one.

    Args:
        labels: 1 for positive, 0 for negative; both must occur.
        probabilities: of being positive.
        criterion: what to choose by. Of equals, the threshold nearest to 0.5 is taken.

            * ``"f1"``: the highest F1;
            * ``"youden"``: the highest recall + specificity - 1 (Youden 1950), which ``"balanced_accuracy"`` also is;
            * ``"recall>=0.95"``: the highest precision with at least this recall;
            * ``"specificity>=0.95"``, ``"precision>=0.9"``: the highest recall with at least this much;
            * ``"cost:FN/FP=10"``: the lowest cost, where a missed positive costs ten false alarms.

    Raises:
        ThresholdError: the criterion is unknown or cannot be met, or a class has no example.
        ValueError: the arrays do not fit together or hold what is no label or no probability.
    """
    p = np.asarray(probabilities, dtype=np.float64)
    if p.ndim != 1 or len(p) == 0:
        raise ValueError(f"probabilities must have the shape (n,), one of being positive an example, got {p.shape}")
    check_finite(p, "probabilities")
    check_unit_interval(p)
    y = checked_labels(labels, len(p), 2)
    if y.min() == y.max():
        raise ThresholdError(f"all {len(y)} examples are of class {y[0]}: choosing a threshold needs both classes")
    values, tp, fp = _candidates(y, p)
    positives, negatives = int(y.sum()), int(len(y) - y.sum())
    objective = _objective(criterion.strip(), tp, fp, positives, negatives)
    best = np.flatnonzero(objective >= objective.max() - 1e-12)
    index = best[np.argmin(np.abs(values[best] - 0.5))]
    achieved = OperatingPoint(int(tp[index]), int(fp[index]), positives - int(tp[index]), negatives - int(fp[index]))
    return Threshold(float(values[index]), criterion.strip(), achieved)


def _candidates(labels: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every way to cut: thresholds from the highest down, with the true and false positives of each."""
    scores, place = np.unique(-probabilities, return_inverse=True)
    scores = -scores
    tp = np.concatenate([[0], np.cumsum(np.bincount(place, labels, minlength=len(scores)))])
    fp = np.concatenate([[0], np.cumsum(np.bincount(place, 1 - labels, minlength=len(scores)))])
    above = (scores[0] + 1) / 2 if (scores[0] + 1) / 2 > scores[0] else np.nextafter(scores[0], 2)
    between = (scores[:-1] + scores[1:]) / 2
    between = np.where(between > scores[1:], between, scores[:-1])  # neighbouring floats have no middle
    return np.concatenate([[above], between, [0.0]]), tp, fp


def _objective(criterion: str, tp: np.ndarray, fp: np.ndarray, positives: int, negatives: int) -> np.ndarray:
    """What to maximise, for every candidate; -inf where a constraint is not met."""
    recall, specificity = tp / positives, 1 - fp / negatives
    precision = np.where(tp + fp > 0, tp / np.maximum(tp + fp, 1), 0.0)
    if criterion == "f1":
        return 2 * tp / (positives + tp + fp)
    if criterion in ("youden", "balanced_accuracy"):
        return recall + specificity
    if cost := _COST.fullmatch(criterion):
        price = _number(cost[1], criterion)
        if price <= 0:
            raise ThresholdError(f"{criterion!r}: the cost of a missed positive must be greater than 0")
        return -(price * (positives - tp) + fp)
    if constraint := _CONSTRAINT.fullmatch(criterion):
        bound = _number(constraint[2], criterion)
        if not 0 < bound <= 1:
            raise ThresholdError(f"{criterion!r}: the bound must be greater than 0 and at most 1")
        rates = {"recall": recall, "specificity": specificity, "precision": precision}
        rate, aim = rates[constraint[1]], precision if constraint[1] == "recall" else recall
        met = (rate >= bound - 1e-12) & (tp > 0)
        if not met.any():
            best = int(np.argmax(np.where(tp > 0, rate, -1)))
            raise ThresholdError(
                f"no threshold that finds a positive example reaches {criterion}: the best {constraint[1]} is "
                f"{rate[best]:.3f}, with recall {recall[best]:.3f} and precision {precision[best]:.3f}; lower the bound"
            )
        return np.where(met, aim + 1e-6 * rate, -np.inf)
    raise ThresholdError(
        f"unknown criterion {criterion!r}{suggestion(criterion, CRITERIA)} (there are {', '.join(CRITERIA)}, "
        "with any number)"
    )


def _number(text: str, criterion: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ThresholdError(f"{criterion!r}: {text!r} is not a number") from None
