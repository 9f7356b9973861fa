"""Rows in order and rows in bins: what calibration errors and selective risks have in common.

Two rules hold for all of them. Tied rows have no order, so each takes the mean over its ties, which is the exact
expectation over all orders. And sums run in short pieces: in float32 a running sum over 1e5 rows loses four digits.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

# Rows that are summed one after the other before the partial sums are summed in turn.
_PIECE = 256


def sort_rows(keys: Float[Array, " n"], values: Float[Array, " n"]) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
    """Rows by ascending key, ties by value, so that the result is the same to the bit for any order of the rows.

    A NaN among the keys makes every value NaN: an unknown rank changes all the others.
    """
    keys, values = jax.lax.sort((keys, values), num_keys=2)
    return keys, jnp.where(jnp.isnan(keys[-1]), jnp.nan, values)


def tie_means(keys: Float[Array, " n"], values: Float[Array, " n"]) -> Float[Array, " n"]:
    """Each value replaced by the mean over the rows with the same key; the rows must be sorted by key."""
    n = keys.shape[0]
    starts = jnp.concatenate([jnp.ones(1, bool), keys[1:] != keys[:-1]])
    tie = jnp.cumsum(starts) - 1
    piece = jnp.cumsum(starts | (jnp.arange(n) % _PIECE == 0)) - 1
    partial = jax.ops.segment_sum(values, piece, n, indices_are_sorted=True)
    tie_of_piece = jnp.zeros(n, tie.dtype).at[piece].set(tie)
    totals = jax.ops.segment_sum(partial, tie_of_piece, n)
    counts = jax.ops.segment_sum(jnp.ones(n, jnp.int32), tie, n, indices_are_sorted=True)
    return totals[tie] / counts[tie]


def bins_of_equal_mass(n: int, bins: int) -> Int[Array, " n"]:
    """The bin of each of ``n`` sorted rows; the sizes differ by at most one."""
    upper = np.arange(1, bins) * n // bins
    return jnp.searchsorted(jnp.asarray(upper), jnp.arange(n), side="right")


def bins_of_equal_width(values: Float[Array, " n"], bins: int) -> Int[Array, " n"]:
    """The bin of each value in [0, 1]; a bin includes its upper edge, and the first one 0.

    The edges are exact: rounded down to the values' precision, which compares as the unrounded ones would.
    """
    exact = np.linspace(0, 1, bins + 1)[1:-1]
    edges = exact.astype(values.dtype)
    edges = np.where(edges > exact, np.nextafter(edges, np.zeros_like(edges)), edges)
    return jnp.searchsorted(jnp.asarray(edges), values, side="left")


def bin_sums(values: Float[Array, " n"], places: Int[Array, " n"], bins: int) -> Float[Array, " bins"]:
    """The sum of the values in each bin."""
    pieces = -(-values.shape[0] // _PIECE)
    ids = jnp.arange(values.shape[0]) // _PIECE * bins + places
    return jax.ops.segment_sum(values, ids, pieces * bins).reshape(pieces, bins).sum(0)


def mean_gap(scores: Float[Array, " n"], gaps: Float[Array, " n"], bins: int, *, equal_mass: bool) -> Float[Array, ""]:
    """The size of the mean gap in each bin of scores in [0, 1], averaged with the bins' counts as weights."""
    if equal_mass:
        scores, gaps = sort_rows(scores, gaps)
        gaps, places = tie_means(scores, gaps), bins_of_equal_mass(gaps.shape[0], bins)
    else:
        places = bins_of_equal_width(scores, bins)
    return jnp.abs(bin_sums(gaps, places, bins)).sum() / gaps.shape[0]
