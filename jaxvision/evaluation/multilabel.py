"""Any number of labels an example."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped
from sklearn import metrics

from jaxvision.evaluation.checks import check_finite, check_unit_interval, checked_names
from jaxvision.evaluation.plain import plain


@dataclass(frozen=True)
class LabelScores:
    """The scores of one label. None where undefined: for want of positive examples, or of negative ones (AUROC).

    A label with positive examples that was never predicted has precision 0, as in scikit-learn.
    """

    name: str
    average_precision: float | None
    auroc: float | None
    precision: float | None
    recall: float | None
    f1: float | None
    support: int


@dataclass(frozen=True, eq=False, kw_only=True)
class MultilabelResult:
    """How well labels that do not exclude each other were told.

    Attributes:
        class_names: in the order of the columns.
        per_class: the scores of each label; their support is the number of positive examples.
        count: number of examples.
        mean_average_precision: mAP, over the labels with positive examples.
        auroc: mean over the labels with positive and negative examples.
        macro_f1: mean over the labels with positive examples.
        micro_f1: of all decisions together.
        exact_match: share of examples with every label right.
        hamming_loss: share of wrong decisions.
        log_loss: mean binary cross-entropy of a decision, in nats.
        threshold: labels were predicted from this probability on.
        undefined: why a metric is None.
    """

    class_names: tuple[str, ...]
    per_class: tuple[LabelScores, ...]
    count: int
    mean_average_precision: float | None
    auroc: float | None
    macro_f1: float | None
    micro_f1: float | None
    exact_match: float
    hamming_loss: float
    log_loss: float
    threshold: float
    undefined: Mapping[str, str] = field(default_factory=dict)

    def rows(self) -> list[dict[str, Any]]:
        """One dict a label: class, average_precision, auroc, precision, recall, f1, support."""
        return [
            {"class": scores.name, **{key: value for key, value in asdict(scores).items() if key != "name"}}
            for scores in self.per_class
        ]

    def to_json(self) -> dict[str, Any]:
        """Everything as plain dicts, lists, numbers and None."""
        return plain({"kind": "multilabel", **vars(self), "per_class": self.rows()})


def evaluate_multilabel(
    labels: Shaped[np.ndarray, "n k"],
    probabilities: Float[np.ndarray, "n k"],
    class_names: Sequence[str],
    threshold: float = 0.5,
) -> MultilabelResult:
    """Measures a multi-label classifier.

    Args:
        labels: 1 where an example has the label, else 0.
        probabilities: each in [0, 1].
        class_names: one a label.
        threshold: a label is predicted where its probability is at least this.

    Raises:
        ValueError: the arrays do not fit together or hold what is no label or no probability.
    """
    p, y = np.asarray(probabilities, dtype=np.float64), np.asarray(labels)
    if p.ndim != 2 or len(p) == 0 or p.shape[1] == 0:
        raise ValueError(f"probabilities must have the shape (examples, labels), none of them 0, got {p.shape}")
    if y.shape != p.shape:
        raise ValueError(f"labels must have the probabilities' shape, {p.shape}, got {y.shape}")
    names = checked_names(class_names, p.shape[1], "labels")
    check_finite(p, "probabilities")
    check_unit_interval(p)
    if not np.isin(y, (0, 1)).all():
        raise ValueError("multi-label labels must be 0 or 1; an unknown label cannot be evaluated")
    y = y.astype(np.int64)
    said = (p >= threshold).astype(np.int64)
    hits, support, predicted = (y & said).sum(axis=0), y.sum(axis=0), said.sum(axis=0)
    scores = tuple(
        LabelScores(
            name,
            average_precision=float(metrics.average_precision_score(y[:, i], p[:, i])) if support[i] else None,
            auroc=float(metrics.roc_auc_score(y[:, i], p[:, i])) if 0 < support[i] < len(y) else None,
            precision=float(hits[i] / max(predicted[i], 1)) if support[i] or predicted[i] else None,
            recall=float(hits[i] / support[i]) if support[i] else None,
            f1=float(2 * hits[i] / (support[i] + predicted[i])) if support[i] or predicted[i] else None,
            support=int(support[i]),
        )
        for i, name in enumerate(names)
    )
    means = {
        "mean_average_precision": _mean([s.average_precision for s in scores]),
        "auroc": _mean([s.auroc for s in scores]),
        "macro_f1": _mean([s.f1 for s in scores if s.support]),
    }
    undefined = {name: "no label has the examples it needs" for name, value in means.items() if value is None}
    decisions = int(support.sum() + predicted.sum())
    if decisions == 0:
        undefined["micro_f1"] = "no label was given and none predicted"
    clipped = np.clip(p, np.finfo(np.float64).eps, 1 - np.finfo(np.float64).eps)
    return MultilabelResult(
        class_names=names,
        per_class=scores,
        count=len(y),
        **means,
        micro_f1=float(2 * hits.sum() / decisions) if decisions else None,
        exact_match=float((y == said).all(axis=1).mean()),
        hamming_loss=float((y != said).mean()),
        log_loss=float(-np.log(np.where(y == 1, clipped, 1 - clipped)).mean()),
        threshold=threshold,
        undefined=undefined,
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
