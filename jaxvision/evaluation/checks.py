"""What is refused before anything is measured."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

# Of a row's sum from one. Softmax in float32 over a thousand classes is off by 1e-6; logits are off by far more.
_SUM_TOLERANCE = 1e-3


def checked_names(class_names: Sequence[str], count: int, what: str = "classes") -> tuple[str, ...]:
    """The names as a tuple.

    Raises:
        ValueError: not ``count`` names, or the same one twice.
    """
    names = tuple(str(name) for name in class_names)
    if len(names) != count:
        raise ValueError(f"{len(names)} names were given for {count} {what}: {_shown(names)}")
    repeated = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if repeated:
        raise ValueError(f"the names of {what} must differ, but {_shown(repeated)} come more than once")
    return names


def _shown(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names[:5]) + (", ..." if len(names) > 5 else "")


def check_finite(values: np.ndarray, what: str) -> None:
    """Refuses NaN and infinity.

    Raises:
        ValueError: names the first such row and how many there are.
    """
    bad = np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).all(axis=1))
    if bad.size:
        raise ValueError(
            f"{what} of {bad.size} of {len(values)} examples are not finite (first: example {bad[0]}); "
            "look for overflow in the model's outputs or broken weights"
        )


def checked_probabilities(probabilities: Float[np.ndarray, " n *k"]) -> Float[np.ndarray, "n k"]:
    """Probabilities in float64, one column a class.

    ``(n,)`` and ``(n, 1)`` are the probability of the second of two classes, as a network with one logit gives it.

    Raises:
        ValueError: no example, wrong rank, a value that is not finite or negative, or a row that does not sum to one.
    """
    values = np.asarray(probabilities, dtype=np.float64)
    if values.ndim == 1:
        values = values[:, None]
    if values.ndim != 2 or values.shape[1] == 0:
        raise ValueError(f"probabilities must have the shape (examples, classes), got {np.shape(probabilities)}")
    if len(values) == 0:
        raise ValueError("there is no example to evaluate: probabilities are empty")
    check_finite(values, "probabilities")
    if values.shape[1] == 1:
        check_unit_interval(values)
        return np.concatenate([1 - values, values], axis=1)
    sums = values.sum(axis=1)
    bad = np.flatnonzero((np.abs(sums - 1) > _SUM_TOLERANCE) | (values < 0).any(axis=1))
    if bad.size:
        first = int(bad[0])
        fault = f"sum to {sums[first]:.4g}" if values[first].min() >= 0 else f"go down to {values[first].min():.4g}"
        raise ValueError(
            f"probabilities of example {first} {fault} ({bad.size} of {len(values)} examples are no distribution); "
            "each row must be non-negative and sum to one: pass probabilities after softmax, not logits"
        )
    return values


def check_unit_interval(values: np.ndarray) -> None:
    """Refuses what is no probability.

    Raises:
        ValueError: a value below 0 or above 1.
    """
    if values.min() < 0 or values.max() > 1:
        raise ValueError(
            f"probabilities must lie in [0, 1], got values from {values.min():.4g} to {values.max():.4g}: "
            "pass probabilities after the sigmoid, not logits"
        )


def checked_labels(labels: Int[np.ndarray, " n"], examples: int, classes: int) -> Int[np.ndarray, " n"]:
    """Class indices as int64.

    Raises:
        ValueError: not one integer in ``[0, classes)`` for each example.
    """
    values = np.asarray(labels)
    if values.shape != (examples,):
        raise ValueError(f"labels must have the shape ({examples},), one for each row, got {values.shape}")
    if values.dtype.kind not in "iub":
        raise ValueError(f"labels must be integers, the indices of classes, got {values.dtype}")
    values = values.astype(np.int64)
    bad = np.flatnonzero((values < 0) | (values >= classes))
    if bad.size:
        raise ValueError(
            f"the label of example {bad[0]} is {values[bad[0]]}, but there are {classes} classes, 0 to {classes - 1} "
            f"({bad.size} labels are out of range)"
        )
    return values
