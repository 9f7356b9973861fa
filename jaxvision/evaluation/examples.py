"""Which examples to look at: the worst mistakes, and those nearest to the border."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int, Shaped

_BARS = 3


@dataclass(frozen=True)
class Bar:
    """A probability to show: of the true class, of a wrongly predicted one, or of another."""

    label: str
    probability: float
    kind: Literal["true", "wrong", "other"]


@dataclass(frozen=True)
class Example:
    """One example and what was said about it.

    Attributes:
        index: its place in the data.
        name: its file name or id.
        truth: the true label, to read; None where it is not known.
        said: the prediction, to read.
        bars: the probabilities worth seeing, highest first.
        facts: other things worth reading, each with its name.
    """

    index: int
    name: str
    truth: str | None
    said: str
    bars: tuple[Bar, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()

    @property
    def lines(self) -> list[tuple[str, str]]:
        """What there is to read, each with its name."""
        truth = [] if self.truth is None else [("true", self.truth)]
        return [*truth, ("predicted", self.said), *self.facts]


def worst_mistakes(
    names: Sequence[str],
    labels: Int[np.ndarray, " n"],
    probabilities: Float[np.ndarray, "n k"],
    predicted: Int[np.ndarray, " n"],
    class_names: Sequence[str],
    limit: int = 12,
) -> list[Example]:
    """The wrong predictions with the highest probability, most confident first."""
    wrong = np.flatnonzero(predicted != labels)
    confidence = probabilities[wrong, predicted[wrong]]
    order = wrong[np.argsort(-confidence, kind="stable")][:limit]
    return [
        class_example(int(i), names[i], int(labels[i]), probabilities[i], int(predicted[i]), class_names) for i in order
    ]


def most_uncertain(
    names: Sequence[str],
    labels: Int[np.ndarray, " n"],
    probabilities: Float[np.ndarray, "n k"],
    predicted: Int[np.ndarray, " n"],
    class_names: Sequence[str],
    threshold: float | None = None,
    limit: int = 8,
) -> list[Example]:
    """The examples whose two most probable classes are nearest; with a threshold, those nearest to it."""
    if threshold is None:
        best = np.partition(probabilities, -2, axis=1)[:, -2:]
        distance = best[:, 1] - best[:, 0]
    else:
        distance = np.abs(probabilities[:, 1] - threshold)
    order = np.argsort(distance, kind="stable")[:limit]
    return [
        class_example(int(i), names[i], int(labels[i]), probabilities[i], int(predicted[i]), class_names) for i in order
    ]


def class_example(
    index: int,
    name: str,
    truth: int | None,
    row: Float[np.ndarray, " k"],
    said: int,
    class_names: Sequence[str],
    facts: Sequence[tuple[str, str]] = (),
) -> Example:
    """An example with its most probable classes, the predicted one and the true one among them.

    Args:
        index: its place in the data.
        name: its file name or id.
        truth: the true class; None where it is not known.
        row: its probabilities.
        said: the predicted class.
        class_names: one a class.
        facts: see `Example`.
    """
    shown = [int(c) for c in np.argsort(-row, kind="stable")[:_BARS]]
    shown += [c for c in (said, truth) if c is not None and c not in shown]
    bars = tuple(Bar(class_names[c], float(row[c]), _kind(c, truth, said)) for c in shown)
    return Example(index, name, None if truth is None else class_names[truth], class_names[said], bars, tuple(facts))


def _kind(shown: int, truth: int | None, said: int) -> Literal["true", "wrong", "other"]:
    return "true" if shown == truth else "wrong" if shown == said and truth is not None else "other"


def worst_multilabel(
    names: Sequence[str],
    labels: Shaped[np.ndarray, "n k"],
    probabilities: Float[np.ndarray, "n k"],
    class_names: Sequence[str],
    threshold: float,
    limit: int = 12,
) -> list[Example]:
    """The examples with the most confidently wrong label, worst first."""
    wrong = (probabilities >= threshold) != (labels == 1)
    gap = np.where(wrong, np.abs(probabilities - labels), -1.0)
    order = np.argsort(-gap.max(axis=1), kind="stable")[:limit]
    examples = []
    for index in (int(i) for i in order if wrong[i].any()):
        worst = [int(c) for c in np.argsort(-gap[index], kind="stable")[:_BARS] if wrong[index, c]]
        bars = tuple(
            Bar(class_names[c], float(probabilities[index, c]), "true" if labels[index, c] == 1 else "wrong")
            for c in worst
        )
        truth = _listed(class_names, labels[index] == 1)
        said = _listed(class_names, probabilities[index] >= threshold)
        examples.append(Example(index, names[index], truth, said, bars))
    return examples


def _listed(class_names: Sequence[str], chosen: np.ndarray) -> str:
    return ", ".join(name for name, is_chosen in zip(class_names, chosen, strict=True) if is_chosen) or "none"


def largest_errors(
    names: Sequence[str],
    targets: Float[np.ndarray, "n d"],
    predictions: Float[np.ndarray, "n d"],
    limit: int = 12,
) -> list[Example]:
    """The examples with the largest error, in units of the targets' spread where there are several targets."""
    spread = targets.std(axis=0)
    error = np.abs(predictions - targets) / np.where(spread > 0, spread, 1.0)
    order = np.argsort(-error.max(axis=1), kind="stable")[:limit]
    return [Example(int(i), names[i], _numbers(targets[i]), _numbers(predictions[i])) for i in order]


def _numbers(values: np.ndarray) -> str:
    return ", ".join(f"{value:.4g}" for value in values)
