"""What a trained network is worth on a split: probabilities, numbers, and the report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxvision.data.dataset import ImageDataset, label_kind
from jaxvision.data.decode import decode
from jaxvision.evaluation.history import History
from jaxvision.evaluation.metrics import (
    ClassificationResult,
    Result,
    evaluate_classification,
    evaluate_multilabel,
    evaluate_regression,
)
from jaxvision.evaluation.report import write_report
from jaxvision.evaluation.threshold import Threshold, choose_threshold
from jaxvision.training.loop import Predictions
from jaxvision.training.losses import Heteroscedastic, Task


@dataclass(frozen=True)
class Assessed:
    """Predictions of a split with their labels.

    Attributes:
        dataset: the split.
        index: which of its examples could be read, (n,).
        probabilities: (n, k); for regression the predicted numbers.
        variance: (n, d) for heteroscedastic regression.
        bad_files: name to reason of the others.
    """

    dataset: ImageDataset
    index: np.ndarray
    probabilities: Float[np.ndarray, "n k"]
    variance: Float[np.ndarray, "n d"] | None
    bad_files: Mapping[str, str]

    @property
    def labels(self) -> np.ndarray:
        """The labels of the examples."""
        return self.dataset.labels[self.index]

    def result(self, threshold: float | None = None) -> Result:
        """The numbers."""
        kind = label_kind(self.dataset)
        if kind == "multiclass":
            return evaluate_classification(self.labels, self.probabilities, self.dataset.class_names, threshold)
        if kind == "multilabel":
            return evaluate_multilabel(self.labels, self.probabilities, self.dataset.class_names)
        labels = self.labels.reshape(len(self.index), -1)
        return evaluate_regression(labels, self.probabilities, self.variance)


def assess(task: Task, dataset: ImageDataset, predictions: Predictions, bad_files: Mapping[str, str]) -> Assessed:
    """Probabilities out of a pass's logits."""
    logits = jnp.asarray(predictions.logits)
    variance = np.asarray(task.variance(logits)) if isinstance(task, Heteroscedastic) else None
    probabilities = np.asarray(task.probabilities(logits), np.float64)
    if task.name in ("multiclass", "binary"):
        probabilities /= probabilities.sum(axis=1, keepdims=True)
    return Assessed(dataset, predictions.index, probabilities, variance, dict(bad_files))


def average(parts: Sequence[Assessed]) -> Assessed:
    """The mean of the probabilities that several networks, or several views of a picture, give (an ensemble)."""
    first = parts[0]
    for other in parts[1:]:
        if not np.array_equal(first.index, other.index):
            raise ValueError("the members of an ensemble must see the same pictures")
    mean = np.mean([part.probabilities for part in parts], axis=0)
    if first.variance is None:
        return Assessed(first.dataset, first.index, mean, None, first.bad_files)
    # The law of total variance: what the members say of the noise, and how much their means differ.
    within = np.mean([part.variance for part in parts if part.variance is not None], axis=0)
    variance = within + np.var([part.probabilities for part in parts], axis=0)
    return Assessed(first.dataset, first.index, mean, variance, first.bad_files)


def pick_threshold(criterion: str | None, validation: Assessed | None) -> Threshold | None:
    """The threshold of a two-class task, chosen on its validation data."""
    if criterion is None or validation is None:
        return None
    if label_kind(validation.dataset) != "multiclass" or len(validation.dataset.class_names) != 2:
        raise ValueError("--threshold is for two classes")
    return choose_threshold(validation.labels, validation.probabilities[:, 1], criterion)


def report(
    folder: Path,
    assessed: Assessed,
    *,
    title: str,
    settings: Mapping[str, Any],
    history: History | None = None,
    threshold: Threshold | None = None,
    comparison: Mapping[str, ClassificationResult] | None = None,
    notes: Sequence[str] = (),
) -> tuple[Path, Result]:
    """Writes ``report.html`` and what belongs to it.

    Returns:
        the path of ``report.html``, and the numbers.
    """
    result = assessed.result(None if threshold is None else threshold.value)
    dataset, index = assessed.dataset, assessed.index
    notes = list(notes)
    if assessed.bad_files:
        names = ", ".join(list(assessed.bad_files)[:5])
        notes.append(f"{len(assessed.bad_files)} unreadable pictures were left out: {names}")

    def picture(row: int) -> np.ndarray:
        example = int(index[row])
        return decode(dataset.read(example), "RGB", fast=False, name=dataset.names[example])

    path = write_report(
        folder,
        title=title,
        result=result,
        history=history,
        pictures=picture,
        names=[dataset.names[int(i)] for i in index],
        labels=assessed.labels,
        outputs=assessed.probabilities,
        settings=dict(settings),
        threshold=threshold,
        comparison=comparison,
        notes=notes,
    )
    return path, result


def headline(result: Result) -> dict[str, float]:
    """The few numbers that a validation shows at each epoch, besides the loss and the accuracy."""
    if isinstance(result, ClassificationResult):
        values = {"balanced_accuracy": result.balanced_accuracy, "macro_f1": result.macro.f1, "auroc": result.auroc}
        return {name: float(value) for name, value in values.items() if value is not None}
    return {}
