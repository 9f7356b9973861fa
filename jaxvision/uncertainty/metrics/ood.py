"""How well a score tells out-of-distribution examples from in-distribution ones.

Every function takes the scores of the two sets, higher meaning more out; "out" is the positive class. Only the order of
the scores matters; ties are scikit-learn's: half right for the AUROC, one threshold for the others. All counts are
exact integers. A NaN makes the result NaN.
"""

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

from jaxvision.uncertainty.metrics.checks import flat


def auroc(scores_in: Float[ArrayLike, " n"], scores_out: Float[ArrayLike, " m"]) -> Float[Array, ""]:
    """The probability that an example from outside scores higher than one from inside, a tie counting half.

    Raises:
        ValueError: one of the sets is empty.
    """
    inside, outside = _sorted(scores_in, scores_out)
    below = jnp.searchsorted(inside, outside, side="left")
    tied = jnp.searchsorted(inside, outside, side="right") - below
    return _unless_nan(jnp.mean((below + tied / 2) / inside.shape[0]), inside, outside)


def aupr(scores_in: Float[ArrayLike, " n"], scores_out: Float[ArrayLike, " m"]) -> Float[Array, ""]:
    """The area under the precision-recall curve as average precision: precision weighted by the gain in recall.

    It depends on the share of "out" among all, which is its value for a random score.

    Raises:
        ValueError: one of the sets is empty.
    """
    inside, outside = _sorted(scores_in, scores_out)
    found, false = _at_least(outside, outside), _at_least(inside, outside)
    return _unless_nan(jnp.mean(found / (found + false)), inside, outside)


def fpr95(scores_in: Float[ArrayLike, " n"], scores_out: Float[ArrayLike, " m"]) -> Float[Array, ""]:
    """The share of "in" that is taken for "out" at the highest threshold that finds at least 95 % of "out".

    Some papers (ODIN's authors among them) swap the two sets here: call ``fpr95(-scores_out, -scores_in)`` for theirs.

    Raises:
        ValueError: one of the sets is empty.
    """
    inside, outside = _sorted(scores_in, scores_out)
    needed = -(-19 * outside.shape[0] // 20)
    threshold = outside[outside.shape[0] - needed]
    return _unless_nan(_at_least(inside, threshold) / inside.shape[0], inside, outside)


def _sorted(
    scores_in: Float[ArrayLike, " n"], scores_out: Float[ArrayLike, " m"]
) -> tuple[Float[Array, " n"], Float[Array, " m"]]:
    (inside,) = flat(scores_in=scores_in)
    (outside,) = flat(scores_out=scores_out)
    return jnp.sort(inside), jnp.sort(outside)


def _at_least(ascending: Float[Array, " n"], thresholds: Float[Array, "*m"]) -> Int[Array, "*m"]:
    """How many values reach each threshold."""
    return ascending.shape[0] - jnp.searchsorted(ascending, thresholds, side="left")


def _unless_nan(value: Float[Array, ""], inside: Float[Array, " n"], outside: Float[Array, " m"]) -> Float[Array, ""]:
    return jnp.where(jnp.isnan(inside[-1]) | jnp.isnan(outside[-1]), jnp.nan, value)
