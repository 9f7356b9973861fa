"""How good predicted Gaussians are: likelihood, scores of the whole distribution, intervals.

Every function takes arrays of one shape, ``(n,)``, ``(n, d)`` or with axes for pixels, and averages over all numbers.
Variances are of the predicted distribution, at least 0; with variance 0 all its mass is at the mean. A NaN makes the
result NaN.
"""

import math
from statistics import NormalDist

import jax.numpy as jnp
from jax.scipy.special import erf
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from jaxvision.uncertainty.metrics.checks import check_fraction, flat, floats


def rmse(mean: Float[ArrayLike, "*b"], y: Float[ArrayLike, "*b"]) -> Float[Array, ""]:
    """The root of the mean squared error, in the target's units.

    Raises:
        ValueError: the shapes differ.
    """
    center, target = flat(mean=mean, y=y)
    return jnp.sqrt(jnp.mean(jnp.square(target - center)))


def gaussian_nll(
    mean: Float[ArrayLike, "*b"], variance: Float[ArrayLike, "*b"], y: Float[ArrayLike, "*b"]
) -> Float[Array, ""]:
    """The mean negative log-density of the targets, in nats, with its constant: ``log(2 pi v) / 2 + e^2 / (2 v)``.

    Infinite if a variance is 0.

    Raises:
        ValueError: the shapes differ.
    """
    center, spread, target = flat(mean=mean, variance=variance, y=y)
    density = jnp.log(2 * jnp.pi * spread) / 2 + jnp.square(standardized(center, spread, target)) / 2
    return jnp.mean(jnp.where(spread == 0, jnp.inf, density))


def nll_skill(
    mean: Float[ArrayLike, "*b"],
    variance: Float[ArrayLike, "*b"],
    y: Float[ArrayLike, "*b"],
    constant: Float[ArrayLike, ""] | None = None,
) -> Float[Array, ""]:
    """What the variances gain over a single one for all rows: its `gaussian_nll` minus theirs, in nats a number.

    Positive is better. Below 0 the uncertainties are worth less than none.

    Args:
        mean: predicted means.
        variance: predicted variances.
        y: targets.
        constant: the single variance, from validation rows. None for the best one on these rows, the mean squared
            error: hindsight that the variances do not have, so this errs against them.

    Raises:
        ValueError: the shapes differ.
    """
    center, spread, target = flat(mean=mean, variance=variance, y=y)
    single = jnp.mean(jnp.square(target - center)) if constant is None else floats(constant)
    baseline = gaussian_nll(center, jnp.broadcast_to(single, center.shape), target)
    return baseline - gaussian_nll(center, spread, target)


def crps(mean: Float[ArrayLike, "*b"], variance: Float[ArrayLike, "*b"], y: Float[ArrayLike, "*b"]) -> Float[Array, ""]:
    """The mean continuous ranked probability score of the Gaussians, in the target's units; lower is better.

    The closed form of Gneiting and Raftery 2007, section 4.2; with variance 0 the absolute error.

    Raises:
        ValueError: the shapes differ.
    """
    center, spread, target = flat(mean=mean, variance=variance, y=y)
    z = standardized(center, spread, target)
    density = jnp.exp(-jnp.square(z) / 2) / math.sqrt(2 * math.pi)
    scores = jnp.abs(target - center) * erf(jnp.abs(z) / math.sqrt(2))
    return jnp.mean(scores + jnp.sqrt(spread) * (2 * density - 1 / math.sqrt(math.pi)))


def gaussian_interval(
    mean: Float[ArrayLike, "*b"], variance: Float[ArrayLike, "*b"], *, level: float = 0.95
) -> tuple[Float[Array, "*b"], Float[Array, "*b"]]:
    """The central interval of each Gaussian that holds this share of its mass, ``(low, high)``.

    Raises:
        ValueError: the shapes differ, or the level is outside (0, 1).
    """
    check_fraction("level", level)
    flat(mean=mean, variance=variance)
    half = NormalDist().inv_cdf((1 + level) / 2) * jnp.sqrt(floats(variance))
    return floats(mean) - half, floats(mean) + half


def picp(
    mean: Float[ArrayLike, "*b"], variance: Float[ArrayLike, "*b"], y: Float[ArrayLike, "*b"], *, level: float = 0.95
) -> Float[Array, ""]:
    """Prediction interval coverage probability: the share of targets in the central interval; ``level`` is ideal.

    Raises:
        ValueError: the shapes differ, or the level is outside (0, 1).
    """
    flat(mean=mean, variance=variance, y=y)
    return interval_coverage(*gaussian_interval(mean, variance, level=level), y)


def mpiw(variance: Float[ArrayLike, "*b"], *, level: float = 0.95) -> Float[Array, ""]:
    """Mean prediction interval width: of the central intervals of `picp`, in the target's units.

    Raises:
        ValueError: the level is outside (0, 1).
    """
    check_fraction("level", level)
    (spread,) = flat(variance=variance)
    return 2 * NormalDist().inv_cdf((1 + level) / 2) * jnp.mean(jnp.sqrt(spread))


def interval_coverage(
    low: Float[ArrayLike, "*b"], high: Float[ArrayLike, "*b"], y: Float[ArrayLike, "*b"]
) -> Float[Array, ""]:
    """The share of targets within intervals of any origin, ends included.

    Raises:
        ValueError: the shapes differ.
    """
    lower, upper, target = flat(low=low, high=high, y=y)
    known = ~jnp.isnan(lower + target) & ~jnp.isnan(upper)
    return jnp.mean(jnp.where(known, (lower <= target) & (target <= upper), jnp.nan))


def interval_score(
    low: Float[ArrayLike, "*b"], high: Float[ArrayLike, "*b"], y: Float[ArrayLike, "*b"], *, level: float = 0.95
) -> Float[Array, ""]:
    """Width plus ``2 / (1 - level)`` times the distance of targets outside (Gneiting and Raftery 2007, section 6.2).

    In the target's units; lower is better. It is least for the true central interval.

    Raises:
        ValueError: the shapes differ, or the level is outside (0, 1).
    """
    check_fraction("level", level)
    lower, upper, target = flat(low=low, high=high, y=y)
    missed = jnp.maximum(lower - target, 0) + jnp.maximum(target - upper, 0)
    return jnp.mean(upper - lower + 2 / (1 - level) * missed)


def pinball(quantile: Float[ArrayLike, "*b"], y: Float[ArrayLike, "*b"], *, level: float) -> Float[Array, ""]:
    """The mean pinball (quantile) loss of predicted quantiles of this level (Koenker and Bassett 1978).

    Raises:
        ValueError: the shapes differ, or the level is outside (0, 1).
    """
    check_fraction("level", level)
    predicted, target = flat(quantile=quantile, y=y)
    above = target - predicted
    return jnp.mean(jnp.maximum(level * above, (level - 1) * above))


def standardized(
    center: Float[Array, " n"], spread: Float[Array, " n"], target: Float[Array, " n"]
) -> Float[Array, " n"]:
    """Errors in units of the predicted standard deviation; 0 where both are 0."""
    error = target - center
    return jnp.where((error == 0) & (spread == 0), 0, error / jnp.sqrt(spread))
