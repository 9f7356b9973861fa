"""Predictions as checked arrays, one row for each decision."""

from collections.abc import Sequence
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from jaxvision.evaluation.checks import check_finite, checked_labels, checked_names, checked_probabilities
from jaxvision.uncertainty.conformal import ConformalIntervals, ConformalSets
from jaxvision.uncertainty.results import ClassificationPrediction, RegressionPrediction, entropy_of

PLAIN_SCORES = ("confidence without dropout", "entropy without dropout")


@dataclass(frozen=True, eq=False)
class ClassRows:
    """Classes: one row for each example; of a multi-label task one for each example and label.

    Attributes:
        names: of the rows.
        example: which example each row is of.
        class_names: what the columns are; of a multi-label task "no" and "yes".
        labels: the true classes; None where they are not known.
        probs: the prediction, averaged over the passes.
        log_probs: its logarithm.
        plain: probabilities of the network without dropout.
        plain_log_probs: their logarithm, from which other temperatures follow.
        expected_entropy: mean entropy of a pass.
        variation_ratio: see `ClassificationPrediction`, as for the next.
        flip_rate: share of the passes that do not vote for the class of the network without dropout.
        standard_error: of the predicted class's probability, from the number of passes.
        num_samples: passes behind each row, at least.
    """

    names: tuple[str, ...]
    example: Int[np.ndarray, " n"]
    class_names: tuple[str, ...]
    labels: Int[np.ndarray, " n"] | None
    probs: Float[np.ndarray, "n k"]
    log_probs: Float[np.ndarray, "n k"]
    plain: Float[np.ndarray, "n k"]
    plain_log_probs: Float[np.ndarray, "n k"]
    entropy: Float[np.ndarray, " n"]
    expected_entropy: Float[np.ndarray, " n"]
    mutual_information: Float[np.ndarray, " n"]
    variation_ratio: Float[np.ndarray, " n"]
    flip_rate: Float[np.ndarray, " n"]
    standard_error: Float[np.ndarray, " n"]
    num_samples: int

    @property
    def predicted(self) -> Int[np.ndarray, " n"]:
        """The most probable classes."""
        return self.probs.argmax(axis=1)

    @property
    def confidence(self) -> Float[np.ndarray, " n"]:
        """Their probabilities."""
        return self.probs.max(axis=1)

    @property
    def flipped(self) -> Bool[np.ndarray, " n"]:
        """Where they are not those of the network without dropout."""
        return self.predicted != self.plain.argmax(axis=1)

    def scores(self) -> dict[str, Float[np.ndarray, " n"]]:
        """Everything an example may be ranked by, higher meaning less sure; `PLAIN_SCORES` need no passes."""
        return {
            "confidence": 1 - self.confidence,
            "predictive entropy": self.entropy,
            "expected entropy": self.expected_entropy,
            "mutual information": self.mutual_information,
            "variation ratio": self.variation_ratio,
            **dict(
                zip(
                    PLAIN_SCORES,
                    (1 - self.plain.max(axis=1), np.asarray(entropy_of(jnp.asarray(self.plain)))),
                    strict=True,
                )
            ),
        }


@dataclass(frozen=True, eq=False)
class NumberRows:
    """Numbers: one row for each example, one column for each target.

    Attributes:
        names: of the examples.
        target_names: of the columns.
        targets: the true values; None where they are not known.
        mean: the prediction.
        epistemic: its variance over the passes.
        aleatoric: the rest of its variance; None where there is none.
        deterministic: what the network says without dropout.
        num_samples: passes behind each row, at least; 0 for the closed form.
    """

    names: tuple[str, ...]
    target_names: tuple[str, ...]
    targets: Float[np.ndarray, "n d"] | None
    mean: Float[np.ndarray, "n d"]
    epistemic: Float[np.ndarray, "n d"]
    aleatoric: Float[np.ndarray, "n d"] | None
    deterministic: Float[np.ndarray, "n d"]
    num_samples: int

    @property
    def variance(self) -> Float[np.ndarray, "n d"]:
        """Of the prediction."""
        return self.epistemic if self.aleatoric is None else self.epistemic + self.aleatoric

    @property
    def std(self) -> Float[np.ndarray, "n d"]:
        """Its root."""
        return np.sqrt(self.variance)

    @property
    def units(self) -> Float[np.ndarray, " d"]:
        """What makes several targets comparable: their spread; 1 for a single one, which keeps its unit."""
        values = self.mean if self.targets is None else self.targets
        spread = values.std(axis=0)
        return np.ones(1) if len(spread) == 1 else np.where(spread > 0, spread, 1.0)

    def scores(self, units: Float[np.ndarray, " d"] | None = None) -> dict[str, Float[np.ndarray, " n"]]:
        """Everything an example may be ranked by, higher meaning less sure.

        Args:
            units: what makes several targets comparable, which are averaged. Default: those of these rows.
        """
        named = {"standard deviation": self.variance}
        if self.aleatoric is not None:
            named |= {"epistemic part": self.epistemic, "aleatoric part": self.aleatoric}
        units = self.units if units is None else units
        return {name: np.sqrt((values / units**2).mean(axis=1)) for name, values in named.items()}


def class_rows(
    task: str,
    names: Sequence[str],
    class_names: Sequence[str],
    labels: np.ndarray | None,
    prediction: ClassificationPrediction,
) -> ClassRows:
    """The rows of a classification.

    Raises:
        ValueError: arrays that do not fit one another, the names or the task, or that are no probabilities.
    """
    probs = np.asarray(prediction.probs, np.float64)
    several = task == "multilabel"
    if probs.ndim != 2 + several:
        raise ValueError(
            f"a report on {task} has one prediction an example, probabilities of the shape "
            f"{'(n, labels, 2)' if several else '(n, classes)'}; got {probs.shape}. "
            "Of dense outputs, give the places as examples, or their mean"
        )
    _check_count(len(names), len(probs), "names")
    columns = checked_names(class_names, probs.shape[1])
    each = probs.shape[1] if several else 1
    example = np.repeat(np.arange(len(probs)), each)
    rows = probs.reshape(-1, probs.shape[-1])
    count = max(int(prediction.num_samples), 1)
    variance = np.asarray(prediction.variance, np.float64).reshape(rows.shape)
    own = np.take_along_axis(variance, rows.argmax(axis=1)[:, None], axis=1)[:, 0]

    def flat(values: object) -> Float[np.ndarray, " n"]:
        return np.asarray(values, np.float64).reshape(-1)

    truth = None
    if labels is not None:
        y = np.asarray(labels)
        if y.size != len(rows):
            raise ValueError(f"there are {len(rows)} predictions, but labels of the shape {y.shape}")
        y = y.reshape(-1)
        whole = y.astype(np.int64) if several or task == "binary" else y  # 0. and 1. as losses take them
        if not np.array_equal(whole, y):
            raise ValueError(f"labels of {task} are 0 and 1, got others among them")
        truth = checked_labels(whole, len(rows), rows.shape[1])
    return ClassRows(
        names=tuple(f"{name}: {label}" for name in names for label in columns) if several else tuple(names),
        example=example,
        class_names=("no", "yes") if several else columns,
        labels=truth,
        probs=checked_probabilities(rows),
        log_probs=np.asarray(prediction.log_probs, np.float64).reshape(rows.shape),
        plain=checked_probabilities(np.asarray(prediction.deterministic_probs).reshape(rows.shape)),
        plain_log_probs=np.asarray(prediction.deterministic_log_probs, np.float64).reshape(rows.shape),
        entropy=flat(prediction.entropy),
        expected_entropy=flat(prediction.expected_entropy),
        mutual_information=flat(prediction.mutual_information),
        variation_ratio=flat(prediction.variation_ratio),
        flip_rate=flat(prediction.flip_rate),
        standard_error=np.sqrt(np.maximum(own, 0) / count),
        num_samples=int(prediction.num_samples),
    )


def number_rows(
    names: Sequence[str], target_names: Sequence[str], labels: np.ndarray | None, prediction: RegressionPrediction
) -> NumberRows:
    """The rows of a regression.

    Raises:
        ValueError: arrays that do not fit one another or the names, or that are not finite.
    """
    shape = np.shape(prediction.mean)
    if len(shape) not in (1, 2):
        raise ValueError(
            f"a report on a regression has numbers of the shape (n, targets), got {shape}. "
            "Of dense outputs, give the places as examples, or their sum or mean"
        )
    _check_count(len(names), shape[0], "names")

    def columns(values: object, what: str) -> Float[np.ndarray, "n d"]:
        array = np.asarray(values, np.float64)
        if array.size != np.prod(shape):
            raise ValueError(f"there are predictions of the shape {shape}, but {what} of the shape {array.shape}")
        array = array.reshape(shape[0], -1)
        check_finite(array, what)
        return array

    mean = columns(prediction.mean, "predictions")
    given = list(target_names) or (["target"] if mean.shape[1] == 1 else [f"target {i}" for i in range(mean.shape[1])])
    return NumberRows(
        names=tuple(names),
        target_names=checked_names(given, mean.shape[1], "targets"),
        targets=None if labels is None else columns(labels, "labels"),
        mean=mean,
        epistemic=columns(prediction.epistemic, "variances"),
        aleatoric=None if prediction.aleatoric is None else columns(prediction.aleatoric, "variances"),
        deterministic=columns(prediction.deterministic, "deterministic outputs"),
        num_samples=int(prediction.num_samples),
    )


def conformal_sets(
    rows: ClassRows, conformal: ConformalSets | ConformalIntervals | None
) -> Bool[np.ndarray, "n k"] | None:
    """The conformal set of each row.

    Raises:
        ValueError: what was fitted is for numbers, for other classes, or randomised.
    """
    if conformal is None:
        return None
    if not isinstance(conformal, ConformalSets):
        raise ValueError("conformal intervals are for numbers; for classes use fit_lac, fit_aps or fit_raps")
    if conformal.randomized:
        raise ValueError("a report has one set an example: fit the conformal sets without a key")
    return np.asarray(conformal.predict_sets(rows.probs))


def conformal_intervals(
    rows: NumberRows, conformal: ConformalSets | ConformalIntervals | None
) -> tuple[Float[np.ndarray, "n d"], Float[np.ndarray, "n d"]] | None:
    """The ends of the conformal interval of each row and target.

    Raises:
        ValueError: what was fitted is for classes or for another number of targets.
    """
    if conformal is None:
        return None
    if not isinstance(conformal, ConformalIntervals):
        raise ValueError("conformal sets are for classes; for numbers use fit_residuals")
    single = np.ndim(conformal.quantile) == 0 and rows.mean.shape[1] == 1
    mean, std = (values[:, 0] if single else values for values in (rows.mean, rows.std))
    low, high = (np.asarray(end, np.float64).reshape(rows.mean.shape) for end in conformal.interval(mean, std))
    return low, high


def _check_count(given: int, count: int, what: str) -> None:
    if given != count:
        raise ValueError(f"there are predictions of {count} examples, but {given} {what}")
