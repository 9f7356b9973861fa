"""What depends on the kind of labels: targets, loss, probabilities, sums for metrics. All in float32."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int, Shaped

from jaxvision.paths import suggestion


@dataclass(frozen=True, eq=False)
class Task(ABC):
    """A kind of labels, with the loss to learn them by. `make_task` makes one and checks its options.

    The mean loss of a batch is ``sum(w * loss) / sum(w * example_weight)``, where ``w`` is 0 for padding and 1
    otherwise: PyTorch's weighted mean.

    Attributes:
        num_classes: classes, labels of an example, or numbers to predict.
        smoothing: label smoothing (Szegedy et al. 2016, section 7): this share of each target is spread evenly.
        class_weights: weights of the classes, or None.
        focal_gamma: focusing parameter of the focal loss (Lin et al. 2017); 0 is cross-entropy.
        focal_alpha: its balance: positives weigh ``alpha``, negatives ``1 - alpha``; None for 1 and 1.
        bce: multiclass only: one binary cross-entropy per class instead of a softmax (Wightman et al. 2021).
    """

    name: ClassVar[str]

    num_classes: int
    smoothing: float = 0.0
    class_weights: np.ndarray | None = None
    focal_gamma: float = 0.0
    focal_alpha: float | None = None
    bce: bool = False

    @property
    def num_outputs(self) -> int:
        """How many outputs the model must have."""
        return self.num_classes

    @abstractmethod
    def targets(self, labels: Shaped[Array, "b ..."]) -> Float32[Array, "b t"]:
        """Dense, smoothed targets of a batch's labels; they may be mixed (mixup, cutmix)."""

    def loss(self, logits: Float[Array, "b k"], targets: Float[Array, "b t"]) -> Float32[Array, " b"]:
        """The loss of each example, class weights included.

        Raises:
            ValueError: the model has another number of outputs than the task needs.
        """
        if logits.ndim != 2 or logits.shape[-1] != self.num_outputs:
            raise ValueError(
                f"the model gives {tuple(logits.shape)}, but a {self.name} task of {self.num_classes} needs "
                f"(batch, {self.num_outputs}): build the model with num_classes={self.num_outputs}"
            )
        return self._loss(logits.astype(jnp.float32), targets.astype(jnp.float32))

    def example_weight(self, targets: Float[Array, "b t"]) -> Float32[Array, " b"]:
        """What each example counts for in the mean: the weight of its class, mixed as its targets are."""
        return jnp.ones(targets.shape[0], jnp.float32)

    @abstractmethod
    def probabilities(self, logits: Float[Array, "b k"]) -> Float32[Array, "b c"]:
        """Class probabilities; for regression the predicted values."""

    @abstractmethod
    def metrics(
        self, logits: Float[Array, "b k"], targets: Float[Array, "b t"], weight: Float[Array, " b"]
    ) -> dict[str, Float32[Array, ""]]:
        """Sums over the batch: ``"count"``, ``"correct"`` and the like. A weight of 0 leaves an example out."""

    @abstractmethod
    def _loss(self, logits: Float32[Array, "b k"], targets: Float32[Array, "b t"]) -> Float32[Array, " b"]: ...

    def _unsmoothed(self, targets: Float[Array, "b t"], values: int) -> Float32[Array, "b t"]:
        return (targets.astype(jnp.float32) - self.smoothing / values) / (1 - self.smoothing)

    def _smoothed(self, hard: Float32[Array, "b t"], values: int) -> Float32[Array, "b t"]:
        return hard * (1 - self.smoothing) + self.smoothing / values

    def _binary_cross_entropy(
        self, logits: Float32[Array, "b k"], targets: Float32[Array, "b k"], positive: Any = 1.0, negative: Any = 1.0
    ) -> Float32[Array, "b k"]:
        """Element by element, weighted, focal if asked for: ``-(1 - p)^gamma log p`` for the part that is positive."""
        if self.focal_alpha is not None:
            positive, negative = positive * self.focal_alpha, negative * (1 - self.focal_alpha)
        minus_log_p, minus_log_not_p = jax.nn.softplus(-logits), jax.nn.softplus(logits)
        if self.focal_gamma:
            positive = positive * jnp.exp(-self.focal_gamma * minus_log_not_p)
            negative = negative * jnp.exp(-self.focal_gamma * minus_log_p)
        return targets * positive * minus_log_p + (1 - targets) * negative * minus_log_not_p


class Multiclass(Task):
    """One of k classes: labels 0 to k - 1, k logits."""

    name = "multiclass"

    def targets(self, labels: Int[Array, " b"]) -> Float32[Array, "b k"]:
        """One-hot, smoothed."""
        return self._smoothed(jax.nn.one_hot(labels, self.num_classes, dtype=jnp.float32), self.num_classes)

    def example_weight(self, targets: Float[Array, "b k"]) -> Float32[Array, " b"]:
        """The weight of the class."""
        if self.class_weights is None:
            return super().example_weight(targets)
        return self._unsmoothed(targets, self.num_classes) @ jnp.asarray(self.class_weights, jnp.float32)

    def _loss(self, logits: Float32[Array, "b k"], targets: Float32[Array, "b k"]) -> Float32[Array, " b"]:
        if self.bce:
            return self.example_weight(targets) * self._binary_cross_entropy(logits, targets).mean(-1)
        log_p = jax.nn.log_softmax(logits)
        weights = 1.0 if self.class_weights is None else jnp.asarray(self.class_weights, jnp.float32)
        if self.focal_gamma:
            # 1 - p without cancellation; kept off 0, where a power below 1 has no derivative.
            not_p = jnp.maximum(-jnp.expm1(log_p), np.finfo(np.float32).tiny)
            weights = weights * not_p**self.focal_gamma
        return -jnp.sum(targets * weights * log_p, -1)

    def probabilities(self, logits: Float[Array, "b k"]) -> Float32[Array, "b k"]:
        """Softmax."""
        return jax.nn.softmax(logits.astype(jnp.float32))

    def metrics(
        self, logits: Float[Array, "b k"], targets: Float[Array, "b k"], weight: Float[Array, " b"]
    ) -> dict[str, Float32[Array, ""]]:
        """``correct`` and ``count``; with more than 5 classes also ``top5``."""
        label = jnp.argmax(targets, -1)
        sums = {"correct": jnp.sum(weight * (jnp.argmax(logits, -1) == label)), "count": jnp.sum(weight)}
        if self.num_classes > 5:
            above = jnp.sum(logits > jnp.take_along_axis(logits, label[:, None], -1), -1)
            sums["top5"] = jnp.sum(weight * (above < 5))
        return sums


class Binary(Task):
    """Labels 0 and 1, one logit, that of 1."""

    name = "binary"

    @property
    def num_outputs(self) -> int:
        """One."""
        return 1

    def targets(self, labels: Int[Array, " b"]) -> Float32[Array, "b 1"]:
        """The label, smoothed towards 1/2."""
        return self._smoothed(labels.astype(jnp.float32)[:, None], 2)

    def example_weight(self, targets: Float[Array, "b 1"]) -> Float32[Array, " b"]:
        """The weight of the class."""
        if self.class_weights is None:
            return super().example_weight(targets)
        negative, positive = (float(weight) for weight in self.class_weights)
        positives = self._unsmoothed(targets, 2)[:, 0]
        return positives * positive + (1 - positives) * negative

    def _loss(self, logits: Float32[Array, "b 1"], targets: Float32[Array, "b 1"]) -> Float32[Array, " b"]:
        negative, positive = (1.0, 1.0) if self.class_weights is None else (float(w) for w in self.class_weights)
        return self._binary_cross_entropy(logits, targets, positive, negative)[:, 0]

    def probabilities(self, logits: Float[Array, "b 1"]) -> Float32[Array, "b 2"]:
        """Columns ``1 - p`` and ``p``."""
        logits = logits.astype(jnp.float32)
        return jax.nn.sigmoid(jnp.concatenate([-logits, logits], -1))

    def metrics(
        self, logits: Float[Array, "b 1"], targets: Float[Array, "b 1"], weight: Float[Array, " b"]
    ) -> dict[str, Float32[Array, ""]]:
        """``correct`` (at p = 1/2) and ``count``."""
        correct = (logits[:, 0] > 0) == (targets[:, 0] > 0.5)
        return {"correct": jnp.sum(weight * correct), "count": jnp.sum(weight)}


class Multilabel(Task):
    """Any of k labels at once: rows of 0 and 1, k logits. The loss of an example is the mean over its labels.

    A class weight is that of the label's positive term (PyTorch's ``pos_weight``): what is rare is a label's presence.
    """

    name = "multilabel"

    def targets(self, labels: Shaped[Array, "b k"]) -> Float32[Array, "b k"]:
        """The labels, smoothed towards 1/2."""
        return self._smoothed(labels.astype(jnp.float32), 2)

    def _loss(self, logits: Float32[Array, "b k"], targets: Float32[Array, "b k"]) -> Float32[Array, " b"]:
        positive = 1.0 if self.class_weights is None else jnp.asarray(self.class_weights, jnp.float32)
        return self._binary_cross_entropy(logits, targets, positive).mean(-1)

    def probabilities(self, logits: Float[Array, "b k"]) -> Float32[Array, "b k"]:
        """Of each label by itself."""
        return jax.nn.sigmoid(logits.astype(jnp.float32))

    def metrics(
        self, logits: Float[Array, "b k"], targets: Float[Array, "b k"], weight: Float[Array, " b"]
    ) -> dict[str, Float32[Array, ""]]:
        """``correct``, the sum over examples of the share of labels that are right at p = 1/2, and ``count``."""
        right = jnp.mean((logits > 0) == (targets > 0.5), -1)
        return {"correct": jnp.sum(weight * right), "count": jnp.sum(weight)}


class Regression(Task):
    """Numbers; mean squared error."""

    name = "regression"

    def targets(self, labels: Shaped[Array, "b ..."]) -> Float32[Array, "b d"]:
        """The numbers, (b, d) also where there is one an example."""
        return labels.astype(jnp.float32).reshape(labels.shape[0], -1)

    def _loss(self, logits: Float32[Array, "b k"], targets: Float32[Array, "b d"]) -> Float32[Array, " b"]:
        return jnp.mean(jnp.square(logits - targets), -1)

    def probabilities(self, logits: Float[Array, "b k"]) -> Float32[Array, "b d"]:
        """The predicted values."""
        return logits[:, : self.num_classes].astype(jnp.float32)

    def metrics(
        self, logits: Float[Array, "b k"], targets: Float[Array, "b d"], weight: Float[Array, " b"]
    ) -> dict[str, Float32[Array, ""]]:
        """``squared_error`` and ``absolute_error``, each the mean over an example's numbers, and ``count``."""
        error = self.probabilities(logits) - targets
        return {
            "squared_error": jnp.sum(weight * jnp.mean(jnp.square(error), -1)),
            "absolute_error": jnp.sum(weight * jnp.mean(jnp.abs(error), -1)),
            "count": jnp.sum(weight),
        }


class Heteroscedastic(Regression):
    """Numbers with a variance that the model predicts too (Kendall and Gal 2017, equation 8).

    Outputs are d means, then d log variances; the loss is ``(exp(-s) (y - mean)^2 + s) / 2``.
    """

    name = "heteroscedastic"

    @property
    def num_outputs(self) -> int:
        """Mean and log variance of each number."""
        return 2 * self.num_classes

    def _loss(self, logits: Float32[Array, "b k"], targets: Float32[Array, "b d"]) -> Float32[Array, " b"]:
        mean, log_variance = jnp.split(logits, 2, -1)
        return jnp.mean(jnp.exp(-log_variance) * jnp.square(targets - mean) + log_variance, -1) / 2

    def variance(self, logits: Float[Array, "b k"]) -> Float32[Array, "b d"]:
        """The predicted variances."""
        return jnp.exp(logits[:, self.num_classes :].astype(jnp.float32))


TASKS: dict[str, type[Task]] = {t.name: t for t in (Multiclass, Binary, Multilabel, Regression, Heteroscedastic)}


def make_task(
    name: str,
    num_classes: int,
    *,
    smoothing: float = 0.0,
    class_weights: Sequence[float] | np.ndarray | None = None,
    focal_gamma: float = 0.0,
    focal_alpha: float | None = None,
    bce: bool = False,
) -> Task:
    """A task by name; see `Task` for the options.

    Args:
        name: ``"multiclass"``, ``"binary"``, ``"multilabel"``, ``"regression"`` or ``"heteroscedastic"``.
        num_classes: classes (2 for binary), labels of an example, or numbers to predict.
        smoothing: label smoothing, at least 0 and below 1.
        class_weights: one weight a class; see `jaxvision.data.sampling.balanced_class_weights` and, for multilabel
            tasks, `positive_weights`.
        focal_gamma: 0 for cross-entropy; 2 in Lin et al. 2017.
        focal_alpha: between 0 and 1; for binary and multilabel tasks.
        bce: for multiclass tasks.

    Raises:
        ValueError: an unknown name, or an option that is out of range or not for this task.
    """
    if name not in TASKS:
        raise ValueError(f"unknown task {name!r}{suggestion(name, TASKS)}; there are {', '.join(TASKS)}")
    numeric = name in ("regression", "heteroscedastic")
    if name == "binary" and num_classes != 2:
        raise ValueError(f"a binary task has 2 classes, not {num_classes}: use 'multiclass'")
    if num_classes < 1:
        raise ValueError(f"num_classes must be at least 1, got {num_classes}")
    if not 0 <= smoothing < 1:
        raise ValueError(f"smoothing must be at least 0 and below 1, got {smoothing}")
    if focal_gamma < 0:
        raise ValueError(f"focal_gamma must be at least 0, got {focal_gamma}")
    if focal_alpha is not None and not 0 < focal_alpha < 1:
        raise ValueError(f"focal_alpha must be between 0 and 1, got {focal_alpha}")
    given = {
        "smoothing": smoothing,
        "class_weights": class_weights is not None,
        "focal_gamma": focal_gamma,
        "focal_alpha": focal_alpha,
        "bce": bce,
    }
    allowed: tuple[str, ...] = () if numeric else ("smoothing", "class_weights", "focal_gamma")
    allowed += {"multiclass": ("bce",), "binary": ("focal_alpha",), "multilabel": ("focal_alpha",)}.get(name, ())
    wrong = [option for option, value in given.items() if value and option not in allowed]
    if wrong:
        raise ValueError(f"{', '.join(wrong)}: not for a {name} task, which takes {', '.join(allowed) or 'no option'}")
    weights = None if class_weights is None else np.asarray(class_weights, np.float32)
    if weights is not None and (weights.shape != (num_classes,) or not np.isfinite(weights).all() or weights.min() < 0):
        raise ValueError(
            f"class_weights must be {num_classes} finite numbers of at least 0, one a class, got {weights.tolist()}"
        )
    return TASKS[name](num_classes, smoothing, weights, focal_gamma, focal_alpha, bce)


def infer_task(labels: np.ndarray, num_classes: int) -> str:
    """The name of the task that labels are for.

    Integers (n,) are classes: ``"binary"`` if there are two, else ``"multiclass"``. Rows of 0 and 1 are
    ``"multilabel"``; other numbers ``"regression"``.
    """
    if labels.ndim == 1 and np.issubdtype(labels.dtype, np.integer):
        return "binary" if num_classes == 2 else "multiclass"
    if labels.ndim == 2 and np.isin(labels, (0, 1)).all():
        return "multilabel"
    return "regression"


def positive_weights(labels: np.ndarray) -> np.ndarray:
    """Class weights of a multilabel task that balance each label's presence and absence; float32 (k,).

    Args:
        labels: rows of 0 and 1, (n, k).

    Raises:
        ValueError: a label never occurs; its index is named.
    """
    present = labels.sum(0)
    missing = np.flatnonzero(present == 0)
    if missing.size:
        raise ValueError(f"no weight can balance labels that never occur: {', '.join(map(str, missing))}")
    return np.asarray((len(labels) - present) / present, np.float32)
