"""Whether the largest variances are where the errors are: removing the least certain numbers first.

Arguments as in `jaxvision.uncertainty.metrics.regression`; ties as in `jaxvision.uncertainty.metrics.selective`.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from jaxvision.uncertainty.metrics.checks import flat
from jaxvision.uncertainty.metrics.selective import risk_coverage


class Sparsification(NamedTuple):
    """The RMSE of what is left, over the RMSE of all, so that both curves start at 1.

    Attributes:
        removed: the share that is removed: 0, 1/n, ..., (n - 1)/n.
        error: removing the largest variances first.
        oracle: removing the largest errors first, which no order beats.
    """

    removed: Float[Array, " n"]
    error: Float[Array, " n"]
    oracle: Float[Array, " n"]


def sparsification(
    mean: Float[ArrayLike, "*b"], variance: Float[ArrayLike, "*b"], y: Float[ArrayLike, "*b"]
) -> Sparsification:
    """The sparsification curves (Ilg et al. 2018, section 4.2), normalised; all 0 if there is no error at all.

    Raises:
        ValueError: the shapes differ.
    """
    center, spread, target = flat(mean=mean, variance=variance, y=y)
    squares = jnp.square(target - center)
    error = jnp.sqrt(risk_coverage(spread, squares).risk[::-1])
    oracle = jnp.sqrt(risk_coverage(squares, squares).risk[::-1])
    # Both start at the RMSE of all, but for rounding.
    everything = jnp.where(oracle[0] == 0, 1, oracle[0])
    return Sparsification(jnp.arange(error.shape[0]) / error.shape[0], error / everything, oracle / everything)


def ause(mean: Float[ArrayLike, "*b"], variance: Float[ArrayLike, "*b"], y: Float[ArrayLike, "*b"]) -> Float[Array, ""]:
    """The area between the sparsification curve and the oracle's (Ilg et al. 2018); 0 is perfect ranking.

    Raises:
        ValueError: the shapes differ.
    """
    curves = sparsification(mean, variance, y)
    return jnp.maximum(jnp.mean(curves.error - curves.oracle), 0)


def aurg(mean: Float[ArrayLike, "*b"], variance: Float[ArrayLike, "*b"], y: Float[ArrayLike, "*b"]) -> Float[Array, ""]:
    """The area gained over removing at random (Poggi et al. 2020, section 4.1); 0 or less says the ranking is useless.

    Raises:
        ValueError: the shapes differ.
    """
    curves = sparsification(mean, variance, y)
    return jnp.mean(curves.oracle[0] - curves.error)
