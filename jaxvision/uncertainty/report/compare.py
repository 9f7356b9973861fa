"""Whether one prediction of the same examples is better than another, by more than chance."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

_Z = 1.959963984540054  # the normal distribution's 97.5 % quantile
_FEW = 10  # examples, below which a spread is hardly known


@dataclass(frozen=True)
class Difference:
    """A mean difference with its 95 % interval; negative: the first is lower.

    Attributes:
        other: what it is compared with.
        mean: first minus other.
        low: end of the interval; of too few examples minus infinity.
        high: the other end.
    """

    other: str
    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        mean, low, high = (f"{round(value, 4) + 0.0:+.4f}" for value in (self.mean, self.low, self.high))
        return f"difference {mean} with the 95 % interval {low} to {high}"

    @property
    def verdict(self) -> int:
        """-1: the first is lower, 1: it is higher, 0: these examples do not tell."""
        return -1 if self.high < 0 else 1 if self.low > 0 else 0


def paired_difference(
    other: str, first: Float[np.ndarray, " n"], second: Float[np.ndarray, " n"], example: Int[np.ndarray, " n"]
) -> Difference:
    """The mean of paired differences, each example counted as one draw whatever rows it has.

    Args:
        other: name of the second.
        first: values, one a row.
        second: the other's on the same rows.
        example: which example each row is of.
    """
    gaps = np.bincount(example, first - second) / np.bincount(example)
    n, mean = len(gaps), float(gaps.mean())
    half = _Z * float(gaps.std(ddof=1)) / np.sqrt(n) if n >= _FEW and np.isfinite(mean) else np.inf
    return Difference(other, mean, mean - half, mean + half)
