"""How good class probabilities are: likelihood, distance from the truth, calibration.

Every function takes probabilities ``(..., classes)`` and class indices of the shape ``(...)``, such as ``(n, k)`` and
``(n,)``, or with axes for pixels, and averages over all rows. A label outside 0 to k - 1, or a NaN among the
probabilities, makes the result NaN: values cannot raise under `jax.jit`.
"""

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int

from jaxvision.uncertainty.metrics.binning import mean_gap
from jaxvision.uncertainty.metrics.checks import check_bins, class_rows
from jaxvision.uncertainty.metrics.entropy import predictive_entropy


def accuracy(probs: Float[ArrayLike, "*b k"], labels: Int[ArrayLike, "*b"]) -> Float[Array, ""]:
    """The share of rows whose most probable class, the first one among equals, is the label.

    Raises:
        ValueError: wrong shapes.
    """
    return 1 - jnp.mean(errors(probs, labels))


def errors(probs: Float[ArrayLike, "*b k"], labels: Int[ArrayLike, "*b"]) -> Float[Array, " n"]:
    """1 for each row whose most probable class is not the label, else 0: what the selective metrics take.

    Raises:
        ValueError: wrong shapes.
    """
    values, classes = class_rows(probs, labels)
    known = _known(values, classes) & ~jnp.isnan(values.max(-1))
    return jnp.where(known, values.argmax(-1) != classes, jnp.nan)


def nll(probs: Float[ArrayLike, "*b k"], labels: Int[ArrayLike, "*b"]) -> Float[Array, ""]:
    """The mean negative log-likelihood, in nats; infinite if a label has probability 0.

    Where log-probabilities are at hand, `nll_from_logs` keeps what a probability rounded to 0 has lost.

    Raises:
        ValueError: wrong shapes.
    """
    return -jnp.mean(jnp.log(_own(*class_rows(probs, labels))))


def nll_from_logs(log_probs: Float[ArrayLike, "*b k"], labels: Int[ArrayLike, "*b"]) -> Float[Array, ""]:
    """The mean negative log-likelihood, in nats, from normalised log-probabilities.

    Raises:
        ValueError: wrong shapes.
    """
    return -jnp.mean(_own(*class_rows(log_probs, labels, "log_probs")))


def brier(probs: Float[ArrayLike, "*b k"], labels: Int[ArrayLike, "*b"]) -> Float[Array, ""]:
    """The mean squared distance of the probabilities from the truth, summed over the classes: 0 to 2 (Brier 1950).

    For two classes this is twice what scikit-learn's ``brier_score_loss`` gives by default.

    Raises:
        ValueError: wrong shapes.
    """
    values, classes = class_rows(probs, labels)
    truth = jnp.arange(values.shape[-1]) == classes[:, None]
    distance = jnp.square(values - truth).sum(-1)
    return jnp.mean(jnp.where(_known(values, classes), distance, jnp.nan))


def ece(
    probs: Float[ArrayLike, "*b k"], labels: Int[ArrayLike, "*b"], *, bins: int = 15, equal_mass: bool = False
) -> Float[Array, ""]:
    """The expected calibration error of the predicted class (Guo et al. 2017, section 2).

    The gap of accuracy and mean confidence in bins of the confidence, weighted by the bins' counts.

    Args:
        probs: probabilities.
        labels: class indices.
        bins: number of bins.
        equal_mass: bins of equally many rows (Nixon et al. 2019, "adaptive") instead of equal width. Rows of the same
            confidence share their accuracy evenly, so the result does not depend on their order. Bins of equal width
            include their upper edge, as in `jaxvision.evaluation.calibration.reliability`.

    Raises:
        ValueError: wrong shapes, or no bin.
    """
    check_bins(bins)
    confidence = class_rows(probs, labels)[0].max(-1)
    return mean_gap(confidence, 1 - errors(probs, labels) - confidence, bins, equal_mass=equal_mass)


def uce(
    probs: Float[ArrayLike, "*b k"], labels: Int[ArrayLike, "*b"], *, bins: int = 15, equal_mass: bool = False
) -> Float[Array, ""]:
    """The uncertainty calibration error (Laves et al. 2019, "Well-calibrated model uncertainty", section 2).

    The gap of error rate and mean uncertainty in bins of the uncertainty, which is the predictive entropy over its
    largest value, log k. It uses the whole distribution, where `ece` uses the largest probability.

    Args:
        probs: probabilities.
        labels: class indices.
        bins: number of bins.
        equal_mass: as for `ece`.

    Raises:
        ValueError: wrong shapes, or no bin.
    """
    check_bins(bins)
    values, _ = class_rows(probs, labels)
    uncertainty = predictive_entropy(values) / jnp.log(values.shape[-1])
    return mean_gap(uncertainty, errors(probs, labels) - uncertainty, bins, equal_mass=equal_mass)


def _known(values: Float[Array, "n k"], classes: Int[Array, " n"]) -> Bool[Array, " n"]:
    return (classes >= 0) & (classes < values.shape[-1])


def _own(values: Float[Array, "n k"], classes: Int[Array, " n"]) -> Float[Array, " n"]:
    """The value at the label."""
    own = jnp.take_along_axis(values, classes[:, None] % values.shape[-1], -1)[:, 0]
    return jnp.where(_known(values, classes), own, jnp.nan)
