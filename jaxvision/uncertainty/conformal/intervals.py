"""Intervals of numbers from means and standard deviations."""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from jaxvision.evaluation.checks import check_finite
from jaxvision.uncertainty.conformal.quantile import conformal_quantile, finite_or_none
from jaxvision.uncertainty.metrics.checks import floats
from jaxvision.uncertainty.metrics.regression import interval_coverage


@dataclass(frozen=True, eq=False)
class ConformalIntervals:
    """Makes intervals of numbers. `fit_residuals` makes one.

    Attributes:
        alpha: the share of intervals that may miss the truth.
        quantile: half an interval's width in predicted standard deviations, for each output by itself; infinite if
            there were too few rows.
        num_rows: rows it was fitted on.
    """

    alpha: float
    quantile: Float[np.ndarray, "..."]
    num_rows: int

    def interval(
        self, mean: Float[ArrayLike, "n ..."], std: Float[ArrayLike, "n ..."]
    ) -> tuple[Float[Array, "n ..."], Float[Array, "n ..."]]:
        """``(low, high)``: the mean, less and plus the quantile times the standard deviation.

        Raises:
            ValueError: the shapes differ from one another or from those it was fitted on.
        """
        center, spread = floats(mean), floats(std)
        if center.shape != spread.shape or center.ndim == 0 or center.shape[1:] != self.quantile.shape:
            expected = ", ".join(map(str, ("n", *self.quantile.shape)))
            raise ValueError(f"mean and std must have the shape ({expected}), got {center.shape} and {spread.shape}")
        half = jnp.where(np.isinf(self.quantile), jnp.inf, self.quantile * spread)
        return center - half, center + half

    def evaluate(
        self, mean: Float[ArrayLike, "n ..."], std: Float[ArrayLike, "n ..."], y: Float[ArrayLike, "n ..."]
    ) -> dict[str, float]:
        """``coverage`` of the targets and ``mean_width`` of the intervals, on other rows.

        Coverage holds whatever ``std`` is. The width against that of intervals fitted with a constant ``std`` says what
        the standard deviations are worth.

        Raises:
            ValueError: the shapes differ.
        """
        low, high = self.interval(mean, std)
        return {"coverage": float(interval_coverage(low, high, y)), "mean_width": float(jnp.mean(high - low))}

    def to_json(self) -> dict[str, Any]:
        """A document that `from_json` reads; an infinite quantile is None, which JSON has a word for."""
        return {**vars(self), "method": "residuals", "quantile": finite_or_none(self.quantile.tolist())}


def fit_residuals(
    mean: Float[ArrayLike, "n ..."], std: Float[ArrayLike, "n ..."], y: Float[ArrayLike, "n ..."], alpha: float
) -> ConformalIntervals:
    """Intervals from the residuals over the predicted standard deviations, ``|y - m| / sigma`` (Lei et al. 2018, 5.2).

    Args:
        mean: predicted numbers, ``(n,)`` or with axes for outputs; each output is covered by itself.
        std: predicted standard deviations, positive; ones for intervals of constant width.
        y: targets.
        alpha: the share of intervals that may miss the truth.

    Raises:
        ValueError: the shapes differ, alpha outside (0, 1), a number that is not finite, or a standard deviation that
            is not positive.
    """
    arrays = {name: np.asarray(floats(value)) for name, value in (("mean", mean), ("std", std), ("y", y))}
    if len({array.shape for array in arrays.values()}) > 1 or arrays["y"].ndim == 0:
        shown = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        raise ValueError(f"these must have one shape, (n,) or (n, outputs): {shown}")
    if arrays["y"].size == 0:
        raise ValueError(f"there is no row to fit on: y {arrays['y'].shape}")
    for name, array in arrays.items():
        check_finite(array, name)
    if (arrays["std"] <= 0).any():
        raise ValueError(f"standard deviations must be positive, got {arrays['std'].min():.4g}")
    scores = np.abs(arrays["y"] - arrays["mean"]) / arrays["std"]
    return ConformalIntervals(float(alpha), conformal_quantile(scores, alpha), len(scores))
