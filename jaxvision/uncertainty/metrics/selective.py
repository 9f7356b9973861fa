"""What is gained by leaving out the least certain predictions (selective prediction, failure detection).

Every function takes an uncertainty for each row, higher meaning less sure (for a confidence, its negative), and an
error: 0 or 1, or any loss that is not negative. Only the order of the uncertainties matters. Rows of the same
uncertainty have no order; every curve and area is the exact mean over all their orders, so that shuffling rows changes
nothing. A NaN makes the result NaN.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Shaped

from jaxvision.uncertainty.metrics.binning import sort_rows, tie_means
from jaxvision.uncertainty.metrics.checks import flat


class RiskCoverage(NamedTuple):
    """The mean error of the most certain rows.

    Attributes:
        coverage: shares of the rows that are kept: 1/n, 2/n, ..., 1.
        risk: the mean error of those kept.
    """

    coverage: Float[Array, " n"]
    risk: Float[Array, " n"]


class AccuracyCoverage(NamedTuple):
    """The accuracy of the most certain rows.

    Attributes:
        coverage: shares of the rows that are kept: 1/n, 2/n, ..., 1.
        accuracy: one minus the risk of those kept.
    """

    coverage: Float[Array, " n"]
    accuracy: Float[Array, " n"]


def risk_coverage(uncertainty: Float[ArrayLike, "*b"], errors: Shaped[ArrayLike, "*b"]) -> RiskCoverage:
    """The risk-coverage curve (El-Yaniv and Wiener 2010).

    Raises:
        ValueError: the shapes differ.
    """
    kept = _kept(uncertainty)
    return RiskCoverage(kept / kept.shape[0], _cumulative(uncertainty, errors) / kept)


def accuracy_coverage(uncertainty: Float[ArrayLike, "*b"], errors: Shaped[ArrayLike, "*b"]) -> AccuracyCoverage:
    """The accuracy-coverage curve: one minus the risk-coverage curve, for errors of 0 and 1.

    Raises:
        ValueError: the shapes differ.
    """
    coverage, risk = risk_coverage(uncertainty, errors)
    return AccuracyCoverage(coverage, 1 - risk)


def aurc(uncertainty: Float[ArrayLike, "*b"], errors: Shaped[ArrayLike, "*b"]) -> Float[Array, ""]:
    """The area under the risk-coverage curve: the mean risk over the n coverages (Geifman et al. 2019, equation 4).

    Raises:
        ValueError: the shapes differ.
    """
    return jnp.mean(risk_coverage(uncertainty, errors).risk)


def e_aurc(uncertainty: Float[ArrayLike, "*b"], errors: Shaped[ArrayLike, "*b"]) -> Float[Array, ""]:
    """The excess of `aurc` over that of the best order of the same errors (Geifman et al. 2019, section 3).

    The best area is computed exactly, not by the approximation ``r + (1 - r) log(1 - r)``.

    Raises:
        ValueError: the shapes differ.
    """
    return jnp.maximum(aurc(uncertainty, errors) - aurc(errors, errors), 0)


def augrc(uncertainty: Float[ArrayLike, "*b"], errors: Shaped[ArrayLike, "*b"]) -> Float[Array, ""]:
    """The area under the generalised risk-coverage curve (Traub et al. 2024, section 3).

    Generalised risk is coverage times risk: the share of all rows that are kept and wrong. The curve starts at (0, 0)
    and is integrated by trapezoids, so that for errors of 0 and 1 of mean e the paper's identity is exact:
    ``augrc = (1 - auroc) e (1 - e) + e^2 / 2``, with the AUROC of the uncertainty for the errors.

    Raises:
        ValueError: the shapes differ.
    """
    cumulative = _cumulative(uncertainty, errors) / _kept(uncertainty).shape[0]
    return jnp.mean(cumulative) - cumulative[-1] / (2 * cumulative.shape[0])


def coverage_at_risk(
    uncertainty: Float[ArrayLike, "*b"], errors: Shaped[ArrayLike, "*b"], risk: Float[ArrayLike, ""]
) -> Float[Array, ""]:
    """The largest share of rows that a threshold on the uncertainty can keep with at most this mean error.

    A threshold keeps all rows of the same uncertainty or none of them. 0 if no threshold does.

    Raises:
        ValueError: the shapes differ.
    """
    keys, values = sort_rows(*flat(uncertainty=uncertainty, errors=errors))
    kept = _kept(uncertainty)
    observed = jnp.cumsum(values) / kept
    last_of_ties = jnp.concatenate([keys[1:] != keys[:-1], jnp.ones(1, bool)])
    coverage = jnp.max(jnp.where(last_of_ties & (observed <= risk), kept, 0)) / kept.shape[0]
    return jnp.where(jnp.isnan(observed[-1]), jnp.nan, coverage)


def _cumulative(uncertainty: Float[ArrayLike, "*b"], errors: Shaped[ArrayLike, "*b"]) -> Float[Array, " n"]:
    """The expected summed error of the 1, 2, ..., n most certain rows."""
    keys, values = sort_rows(*flat(uncertainty=uncertainty, errors=errors))
    return jnp.cumsum(tie_means(keys, values))


def _kept(uncertainty: Float[ArrayLike, "*b"]) -> Float[Array, " n"]:
    return jnp.arange(1, jnp.size(uncertainty) + 1, dtype=jnp.float32)
