"""One label of several: everything measured from labels and probabilities, or from a confusion matrix."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from sklearn import metrics

from jaxvision.evaluation.calibration import brier_score, reliability
from jaxvision.evaluation.checks import checked_labels, checked_names, checked_probabilities
from jaxvision.evaluation.intervals import wilson_interval
from jaxvision.evaluation.plain import plain

_TOP = 5


@dataclass(frozen=True)
class ClassScores:
    """Precision, recall and F1 of one class, or their average over classes.

    None where there is nothing to divide by: recall of a class without examples, precision and F1 of one that was
    never predicted either. A class that has examples but was never predicted has precision 0, as in scikit-learn.
    """

    name: str
    precision: float | None
    recall: float | None
    f1: float | None
    support: int


@dataclass(frozen=True, eq=False, kw_only=True)
class ClassificationResult:
    """How well a classifier did. What could not be measured is None, and `undefined` says why.

    Attributes:
        class_names: in the order of the labels; of two classes the second is the positive one.
        confusion_matrix: examples by true class (rows) and predicted class (columns).
        per_class: the scores of each class.
        macro: their mean over the classes that have examples.
        weighted: their mean weighted by the classes' numbers of examples.
        accuracy: share of correct predictions.
        accuracy_interval: its 95 % interval (Wilson 1927).
        balanced_accuracy: mean recall of the classes that have examples.
        mcc: Matthews' correlation coefficient, for several classes Gorodkin's (2004).
        auroc: area under the ROC curve; of several classes the mean of one against the rest.
        average_precision: of the positive class; two classes only.
        log_loss: mean negative log probability of the true class, in nats.
        brier: see `jaxvision.evaluation.calibration.brier_score`.
        ece: expected calibration error with 15 bins (Guo et al. 2017).
        top5: share of examples whose true class is among the five most probable; more than five classes only.
        threshold: the positive class was predicted from this probability on; None: the most probable class was.
        undefined: why a metric that applies is None.
    """

    class_names: tuple[str, ...]
    confusion_matrix: Int[np.ndarray, "k k"]
    per_class: tuple[ClassScores, ...]
    macro: ClassScores
    weighted: ClassScores
    accuracy: float
    accuracy_interval: tuple[float, float]
    balanced_accuracy: float
    mcc: float | None
    auroc: float | None = None
    average_precision: float | None = None
    log_loss: float | None = None
    brier: float | None = None
    ece: float | None = None
    top5: float | None = None
    threshold: float | None = None
    undefined: Mapping[str, str] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """Number of examples."""
        return int(self.confusion_matrix.sum())

    @property
    def absent(self) -> tuple[str, ...]:
        """The classes without an example."""
        return tuple(scores.name for scores in self.per_class if scores.support == 0)

    def rows(self) -> list[dict[str, Any]]:
        """One dict a class: class, precision, recall, f1, support."""
        return [
            {"class": s.name, "precision": s.precision, "recall": s.recall, "f1": s.f1, "support": s.support}
            for s in self.per_class
        ]

    def to_json(self) -> dict[str, Any]:
        """Everything as plain dicts, lists, numbers and None."""
        fields = {name: value for name, value in vars(self).items() if name not in ("per_class", "macro", "weighted")}
        averages = {"macro": asdict(self.macro), "weighted": asdict(self.weighted)}
        return plain({"kind": "classification", "count": self.count, **fields, "per_class": self.rows(), **averages})


def evaluate_classification(
    labels: Int[np.ndarray, " n"],
    probabilities: Float[np.ndarray, " n *k"],
    class_names: Sequence[str],
    threshold: float | None = None,
) -> ClassificationResult:
    """Measures a classifier on labelled examples.

    Args:
        labels: the true classes' indices.
        probabilities: of each class, rows summing to one; or ``(n,)`` of the second of two classes.
        class_names: one a class.
        threshold: two classes only: predict the second where its probability is at least this. Without it, the most
            probable class is predicted, the first of equals.

    Raises:
        ValueError: the arrays do not fit together or hold what is no label or no probability; a threshold was given
            for more than two classes.
    """
    p = checked_probabilities(probabilities)
    n, k = p.shape
    names = checked_names(class_names, k)
    y = checked_labels(labels, n, k)
    matrix = metrics.confusion_matrix(y, predicted_classes(p, threshold), labels=np.arange(k))
    normalized = p / p.sum(axis=1, keepdims=True)
    result = replace(
        from_confusion_matrix(matrix, names),
        log_loss=float(metrics.log_loss(y, normalized, labels=np.arange(k))),
        brier=brier_score(y, normalized),
        ece=reliability(y, normalized).ece,
        top5=_top_accuracy(y, p) if k > _TOP else None,
        threshold=threshold,
    )
    undefined = {name: why for name, why in result.undefined.items() if why != _NO_PROBABILITIES}
    if result.absent:
        shown = ", ".join(result.absent[:5]) + (", ..." if len(result.absent) > 5 else "")
        why = f"needs examples of every class; there is none of {shown}"
        return replace(result, undefined=undefined | {"auroc": why} | ({"average_precision": why} if k == 2 else {}))
    if k == 2:
        auroc = metrics.roc_auc_score(y, p[:, 1])
        return replace(
            result,
            auroc=float(auroc),
            average_precision=float(metrics.average_precision_score(y, p[:, 1])),
            undefined=undefined,
        )
    auroc = metrics.roc_auc_score(y, normalized, multi_class="ovr", average="macro", labels=np.arange(k))
    return replace(result, auroc=float(auroc), undefined=undefined)


def predicted_classes(probabilities: Float[np.ndarray, "n k"], threshold: float | None = None) -> Int[np.ndarray, " n"]:
    """The predicted class of each row, as `evaluate_classification` predicts it.

    Raises:
        ValueError: a threshold for more than two classes.
    """
    if threshold is None:
        return probabilities.argmax(axis=1)
    if probabilities.shape[1] != 2:
        raise ValueError(f"a threshold needs two classes, but there are {probabilities.shape[1]}: leave it out")
    return (probabilities[:, 1] >= threshold).astype(np.int64)


def _top_accuracy(labels: np.ndarray, probabilities: np.ndarray) -> float:
    own = np.take_along_axis(probabilities, labels[:, None], axis=1)
    earlier = np.arange(probabilities.shape[1]) < labels[:, None]  # of equals the first counts as more probable
    rank = ((probabilities > own) | ((probabilities == own) & earlier)).sum(axis=1)
    return float((rank < _TOP).mean())


_NO_PROBABILITIES = "needs probabilities; there is only a confusion matrix"


def from_confusion_matrix(matrix: Int[np.ndarray, "k k"], class_names: Sequence[str]) -> ClassificationResult:
    """All that a confusion matrix alone determines.

    Args:
        matrix: examples by true class (rows) and predicted class (columns).
        class_names: one a class.

    Raises:
        ValueError: the matrix is not square, empty, or holds what is no count.
    """
    counts = np.asarray(matrix)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or counts.shape[0] < 2:
        raise ValueError(f"a confusion matrix must be square, of two classes or more, got the shape {counts.shape}")
    if counts.dtype.kind not in "iu" or counts.min() < 0:
        raise ValueError(f"a confusion matrix must hold counts, integers from 0 on, got {counts.dtype} {counts.min()}")
    names = checked_names(class_names, len(counts))
    counts = counts.astype(np.int64)
    total = int(counts.sum())
    if total == 0:
        raise ValueError("there is no example to evaluate: the confusion matrix is all zeros")
    hits, support, predicted = np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)
    present = support > 0
    precision = _ratio(hits, predicted, otherwise=np.where(present, 0.0, np.nan))
    recall = _ratio(hits, support, otherwise=np.nan)
    f1 = _ratio(2 * hits, support + predicted, otherwise=np.nan)
    accuracy = int(hits.sum()) / total
    low, high = wilson_interval(hits.sum(), total)

    def average(name: str, weights: np.ndarray) -> ClassScores:
        p, r, f = (float(np.average(values[present], weights=weights[present])) for values in (precision, recall, f1))
        return ClassScores(name, p, r, f, total)

    macro = average("macro avg", np.ones(len(names)))
    mcc = _matthews(total, int(hits.sum()), support, predicted)
    columns = (plain(precision), plain(recall), plain(f1), plain(support))
    undefined = dict.fromkeys(("auroc", "log_loss", "brier", "ece"), _NO_PROBABILITIES)
    undefined |= {"average_precision": _NO_PROBABILITIES} if len(names) == 2 else {}
    undefined |= {"top5": _NO_PROBABILITIES} if len(names) > _TOP else {}
    undefined |= {"mcc": "all labels or all predictions are of one class"} if mcc is None else {}
    return ClassificationResult(
        class_names=names,
        confusion_matrix=counts,
        per_class=tuple(ClassScores(*scores) for scores in zip(names, *columns, strict=True)),
        macro=macro,
        weighted=average("weighted avg", support.astype(np.float64)),
        accuracy=accuracy,
        accuracy_interval=(float(low), float(high)),
        balanced_accuracy=float(recall[present].mean()),
        mcc=mcc,
        undefined=undefined,
    )


def _ratio(top: np.ndarray, bottom: np.ndarray, otherwise: np.ndarray | float) -> Float[np.ndarray, " k"]:
    return np.where(bottom > 0, top / np.maximum(bottom, 1), otherwise)


def _matthews(total: int, correct: int, support: np.ndarray, predicted: np.ndarray) -> float | None:
    """Gorodkin's R_K (2004, equation 8) in the form of sums over the confusion matrix."""
    s, p = [int(n) for n in support], [int(n) for n in predicted]  # Python's integers: the products overflow int64
    spread = (total**2 - sum(n * n for n in s)) * (total**2 - sum(n * n for n in p))
    if spread == 0:
        return None
    return float((correct * total - sum(a * b for a, b in zip(s, p, strict=True))) / spread**0.5)
