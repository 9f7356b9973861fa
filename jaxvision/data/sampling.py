"""Which examples an epoch shows and in which order, and weights against imbalance."""

from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Float32, Int64

from jaxvision.paths import suggestion

Sampling: TypeAlias = Literal["none", "oversample", "undersample"]

_SAMPLINGS = ("none", "oversample", "undersample")
_ORDER_STREAM = 0  # of the streams that one seed spawns; the loader uses others


def epoch_order(
    labels: np.ndarray, sampling: Sampling, seed: int, epoch: int, shuffle: bool = True
) -> Int64[np.ndarray, " m"]:
    """The examples of one epoch, as a pure function of the arguments.

    Args:
        labels: (n,) classes; with ``"none"`` any labels.
        sampling: ``"none"`` shows every example once. ``"oversample"`` repeats the smaller classes up to the size of
            the largest: each example equally often, and a remainder drawn without replacement. ``"undersample"``
            draws as many of each class as the smallest has. Draws are new in every epoch.
        seed: of the run, 0 or more.
        epoch: 0 or more.
        shuffle: False keeps the order of the data set.

    Raises:
        ValueError: the sampling is unknown, or needs one class per example and the labels are something else.
    """
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_ORDER_STREAM, epoch)))
    if sampling == "none":
        chosen = np.arange(len(labels))
    else:
        counts = _class_counts(labels, sampling)
        size = _size(counts, sampling)
        parts = []
        for label in np.flatnonzero(counts):
            members = np.flatnonzero(labels == label)
            repeats, remainder = divmod(size, len(members))
            parts += [members] * repeats + [rng.choice(members, remainder, replace=False)]
        chosen = np.sort(np.concatenate(parts)) if parts else np.arange(0)
    return rng.permutation(chosen) if shuffle else chosen


def epoch_size(labels: np.ndarray, sampling: Sampling) -> int:
    """How many examples `epoch_order` gives.

    Raises:
        ValueError: as `epoch_order`.
    """
    if sampling == "none":
        return len(labels)
    counts = _class_counts(labels, sampling)
    return _size(counts, sampling) * int(np.count_nonzero(counts))


def balanced_class_weights(labels: np.ndarray, num_classes: int) -> Float32[np.ndarray, " k"]:
    """Weights that give every class the same total: n / (k n_c) for class c of k, as scikit-learn's ``"balanced"``.

    Args:
        labels: (n,) classes from 0 to ``num_classes - 1``.
        num_classes: k.

    Raises:
        ValueError: a class has no example, or the labels are not one class per example.
    """
    counts = np.bincount(_as_classes(labels, "class weights 'balanced'"), minlength=num_classes)
    if len(counts) > num_classes:
        raise ValueError(f"labels go up to {len(counts) - 1}, expected classes 0 to {num_classes - 1}")
    absent = np.flatnonzero(counts == 0)
    if len(absent):
        raise ValueError(
            f"class {', '.join(map(str, absent))} of {num_classes} has no example to balance: add examples, remove "
            "the class, or give the weights as numbers"
        )
    return (len(labels) / (num_classes * counts)).astype(np.float32)


def _size(counts: np.ndarray, sampling: Sampling) -> int:
    """How many examples of each class an epoch shows."""
    present = counts[counts > 0]
    if not len(present):
        return 0
    return int(present.max() if sampling == "oversample" else present.min())


def _class_counts(labels: np.ndarray, sampling: Sampling) -> np.ndarray:
    if sampling not in _SAMPLINGS:
        raise ValueError(
            f"sampling must be one of {', '.join(_SAMPLINGS)}, got {sampling!r}{suggestion(sampling, _SAMPLINGS)}"
        )
    return np.bincount(_as_classes(labels, f"sampling {sampling!r}"))


def _as_classes(labels: np.ndarray, what: str) -> np.ndarray:
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise ValueError(
            f"{what} needs one class per example, int of shape (n,), got {labels.dtype} {labels.shape}: it is not "
            "defined for several labels or regression"
        )
    return labels
