"""The finite-sample quantile, on which the guarantee rests."""

import math
import warnings
from fractions import Fraction
from typing import Any

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float

from jaxvision.uncertainty.metrics.checks import check_fraction


def conformal_quantile(scores: Float[ArrayLike, "n ..."], alpha: float) -> Float[np.ndarray, "..."]:
    """The ``ceil((n + 1) (1 - alpha))``-th smallest score along the first axis, infinite if that is more than n.

    The level is exact: alpha is taken as the decimal it is written as, so 0.1 of 100 is 10.

    Raises:
        ValueError: no score, or alpha outside (0, 1).
    """
    check_fraction("alpha", alpha)
    values = np.asarray(scores)
    if values.ndim == 0 or values.shape[0] == 0:
        raise ValueError(f"there is no row to fit on: scores have the shape {values.shape}")
    n, share = values.shape[0], Fraction(str(float(alpha)))
    rank = math.ceil((n + 1) * (1 - share))
    if rank > n:
        warnings.warn(
            f"{n} rows are too few for alpha = {alpha}: everything is in the set. At least {math.ceil(1 / share) - 1} "
            "rows are needed",
            stacklevel=3,
        )
        return np.full(values.shape[1:], np.inf, values.dtype)
    return np.asarray(np.partition(values, rank - 1, axis=0)[rank - 1])


def finite_or_none(value: Any) -> Any:
    """A number or nested lists of them with None for infinity, for which JSON has no word."""
    if isinstance(value, list):
        return [finite_or_none(item) for item in value]
    return None if math.isinf(value) else value
