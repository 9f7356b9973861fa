"""The smallest value of a function of one number."""

from collections.abc import Callable, Sequence

import numpy as np

_GOLDEN = (np.sqrt(5) - 1) / 2


def minimise(function: Callable[[float], float], grid: Sequence[float], tolerance: float = 1e-7) -> tuple[float, float]:
    """Tries a grid, then narrows the interval around its best point by the golden section.

    The result is never worse than any point of the grid, so that a special case on the grid (an endpoint, say) stays a
    special case of the result.

    Args:
        function: what to minimise; where it is NaN it counts as infinite.
        grid: points to try, in ascending order, at least two.
        tolerance: width at which the narrowing stops, as a share of the grid's interval.

    Returns:
        ``(x, function(x))``, the best of all that was tried.
    """

    def value(x: float) -> float:
        y = float(function(x))
        return np.inf if np.isnan(y) else y

    values = [value(x) for x in grid]
    best = int(np.argmin(values))
    x, y = float(grid[best]), values[best]
    low, high = float(grid[max(best - 1, 0)]), float(grid[min(best + 1, len(grid) - 1)])
    width = tolerance * (high - low)
    left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    at_left, at_right = value(left), value(right)
    while high - low > width:
        if at_left <= at_right:
            high, right, at_right = right, left, at_left
            left = high - _GOLDEN * (high - low)
            at_left = value(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + _GOLDEN * (high - low)
            at_right = value(right)
    for point, reached in ((left, at_left), (right, at_right)):
        if reached < y:
            x, y = float(point), reached
    return x, y


def parabola(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """The lowest point of the parabola through the smallest value of an even grid and its two neighbours.

    Where the smallest value is an end of the grid, that end.

    Returns:
        ``(x, y)`` of the vertex.
    """
    best = int(np.argmin(y))
    if best in (0, len(y) - 1):
        return float(x[best]), float(y[best])
    below, here, above = (float(value) for value in y[best - 1 : best + 2])
    curvature = below - 2 * here + above
    if curvature <= 0:  # a plateau
        return float(x[best]), here
    shift = (below - above) / (2 * curvature)
    return float(x[best] + shift * (x[best + 1] - x[best])), here - (below - above) ** 2 / (8 * curvature)
