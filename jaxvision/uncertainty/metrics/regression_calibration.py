"""Whether predicted variances mean what they say.

Arguments as in `jaxvision.uncertainty.metrics.regression`.
"""

import math
from typing import NamedTuple

import jax.numpy as jnp
from jax.scipy.special import erf
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from jaxvision.uncertainty.metrics.binning import bin_sums, bins_of_equal_mass, mean_gap, sort_rows, tie_means
from jaxvision.uncertainty.metrics.checks import check_bins, flat, floats
from jaxvision.uncertainty.metrics.regression import standardized


class CoverageCurve(NamedTuple):
    """Nominal against observed coverage of central intervals; equal if the variances are calibrated.

    Attributes:
        levels: nominal coverages, from 0 to 1.
        observed: the share of targets in the interval of each level.
    """

    levels: Float[Array, " l"]
    observed: Float[Array, " l"]


def coverage_curve(
    mean: Float[ArrayLike, "*b"],
    variance: Float[ArrayLike, "*b"],
    y: Float[ArrayLike, "*b"],
    levels: Float[ArrayLike, " l"] | None = None,
) -> CoverageCurve:
    """How many targets lie in the central intervals of each level.

    Args:
        mean: predicted means.
        variance: predicted variances.
        y: targets.
        levels: nominal coverages, in any order; by default 0, 0.05, ..., 1.

    Raises:
        ValueError: the shapes differ, or levels is not a vector.
    """
    wanted = jnp.linspace(0, 1, 21) if levels is None else floats(levels)
    if wanted.ndim != 1:
        raise ValueError(f"levels must be a vector, got {wanted.shape}")
    needed = _needed_levels(mean, variance, y)
    observed = jnp.searchsorted(needed, wanted, side="right") / needed.shape[0]
    return CoverageCurve(wanted, jnp.where(jnp.isnan(needed[-1]), jnp.nan, observed))


def miscalibration_area(
    mean: Float[ArrayLike, "*b"], variance: Float[ArrayLike, "*b"], y: Float[ArrayLike, "*b"]
) -> Float[Array, ""]:
    """The area between nominal and observed coverage of central intervals, 0 to 1/2 (Tran et al. 2020).

    Exact: the observed coverage is a step function of the level, and the area is integrated between its steps, not
    over a grid of levels.

    Raises:
        ValueError: the shapes differ.
    """
    needed = _needed_levels(mean, variance, y)
    steps = jnp.concatenate([jnp.zeros(1, needed.dtype), needed, jnp.ones(1, needed.dtype)])
    observed = jnp.arange(needed.shape[0] + 1) / needed.shape[0]
    left, right = steps[:-1] - observed, steps[1:] - observed
    crosses = (left < 0) & (right > 0)
    one_sided = jnp.abs(left + right) / 2 * (steps[1:] - steps[:-1])
    return jnp.sum(jnp.where(crosses, (jnp.square(left) + jnp.square(right)) / 2, one_sided))


def ence(
    mean: Float[ArrayLike, "*b"], variance: Float[ArrayLike, "*b"], y: Float[ArrayLike, "*b"], *, bins: int = 10
) -> Float[Array, ""]:
    """The expected normalised calibration error (Levi et al. 2022, section 4).

    In bins of equally many rows by predicted variance, the gap of the root mean variance and the root mean squared
    error, over the former; the plain mean over the bins. Rows of the same variance share their squared errors evenly.
    Infinite if all variances of a bin are 0 and its errors are not.

    Args:
        mean: predicted means.
        variance: predicted variances.
        y: targets.
        bins: number of bins; at most one a row is used.

    Raises:
        ValueError: the shapes differ, or no bin.
    """
    check_bins(bins)
    center, spread, target = flat(mean=mean, variance=variance, y=y)
    bins = min(bins, spread.shape[0])
    spread, squares = sort_rows(spread, jnp.square(target - center))
    places = bins_of_equal_mass(spread.shape[0], bins)
    counts = bin_sums(jnp.ones_like(spread), places, bins)
    predicted = jnp.sqrt(bin_sums(spread, places, bins) / counts)
    observed = jnp.sqrt(bin_sums(tie_means(spread, squares), places, bins) / counts)
    gaps = jnp.abs(predicted - observed)
    return jnp.mean(jnp.where(gaps == 0, 0, gaps / predicted))


def regression_uce(
    mean: Float[ArrayLike, "*b"],
    variance: Float[ArrayLike, "*b"],
    y: Float[ArrayLike, "*b"],
    *,
    bins: int = 10,
    equal_mass: bool = False,
) -> Float[Array, ""]:
    """The uncertainty calibration error of regression (Laves et al. 2020, section 2.4), in the target's units squared.

    The gap of mean squared error and mean variance in bins of the variance, weighted by the bins' counts.

    Args:
        mean: predicted means.
        variance: predicted variances.
        y: targets.
        bins: number of bins.
        equal_mass: bins of equally many rows, instead of equal width from the smallest variance to the largest.

    Raises:
        ValueError: the shapes differ, or no bin.
    """
    check_bins(bins)
    center, spread, target = flat(mean=mean, variance=variance, y=y)
    extent = spread.max() - spread.min()
    place = (spread - spread.min()) / jnp.where(extent == 0, 1, extent)
    return mean_gap(place, jnp.square(target - center) - spread, bins, equal_mass=equal_mass)


def _needed_levels(
    mean: Float[ArrayLike, "*b"], variance: Float[ArrayLike, "*b"], y: Float[ArrayLike, "*b"]
) -> Float[Array, " n"]:
    """The level at which each target enters its central interval, ascending; NaN, if any, last."""
    z = standardized(*flat(mean=mean, variance=variance, y=y))
    return jnp.sort(erf(jnp.abs(z) / math.sqrt(2)))
