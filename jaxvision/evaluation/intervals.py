"""How far a share that was counted may be from the true one."""

import numpy as np
from jaxtyping import Float, Shaped

_Z = 1.959963984540054  # the normal distribution's 97.5 % quantile


def wilson_interval(
    successes: Shaped[np.ndarray, "*s"] | float, trials: Shaped[np.ndarray, "*s"] | float
) -> tuple[Float[np.ndarray, "*s"], Float[np.ndarray, "*s"]]:
    """The 95 % score interval of a proportion (Wilson 1927): honest for few trials and near 0 and 1.

    Args:
        successes: how often it happened.
        trials: how often it could have, at least 1.

    Returns:
        The lower and the upper end.
    """
    n = np.asarray(trials, dtype=np.float64)
    share = np.asarray(successes, dtype=np.float64) / n
    centre = (share + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * np.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2))
    return np.clip(centre - half, 0, share), np.clip(centre + half, share, 1)
