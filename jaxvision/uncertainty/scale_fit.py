"""Fits of a scale to validation data, in float64, by the likelihood of a Gaussian."""

import math
from statistics import NormalDist

import numpy as np
from jaxtyping import Float

from jaxvision.paths import suggestion
from jaxvision.uncertainty.scale import (
    HETEROSCEDASTIC_KINDS,
    KINDS,
    VAR_FLOOR,
    Scale,
    ScaleError,
    ScaleKind,
    optimal_factor,
    profile,
    squared_errors,
)
from jaxvision.uncertainty.search import minimise

_NUMBERS = ("factor", "power", "offset", "floor")
_LEVELS = np.arange(10) / 10
_QUANTILES = np.array([NormalDist().inv_cdf((1 + level) / 2) for level in _LEVELS])
_SHARES = (0.0, *(1 / (1 + np.exp(-np.linspace(-16, 16, 65)))), 1.0)


def fit_scale(
    kind: ScaleKind,
    mean: Float[np.ndarray, "..."],
    variance: Float[np.ndarray, "..."],
    y: Float[np.ndarray, "..."],
    *,
    aleatoric: Float[np.ndarray, "..."] | None = None,
    var_floor: float = VAR_FLOOR,
    per_output: bool = False,
) -> Scale:
    """Fits a scale on validation data.

    * ``"variance"``: C·v, with C = mean(e²/v) (the paper). With a heteroscedastic head C·v + u; C may come out 0.
    * ``"relaxed"``: c·C·v, where the signed area between nominal and observed coverage of central intervals is 0 (the
      paper's relaxed factor): right on average at some cost in likelihood.
    * ``"affine"``: a·v + b·u with a, b >= 0. Not worse than ``"variance"`` or a constant variance on the fitted rows.
    * ``"power"``: C·v^γ with γ >= 0. The same holds.
    * ``"constant"``: b = mean(e²), whatever the passes say: the baseline.

    Args:
        kind: one of the above; with a heteroscedastic head one of the first three.
        mean: centre of the prediction.
        variance: over the passes.
        y: the truth. All of one shape.
        aleatoric: what a heteroscedastic head predicts.
        var_floor: variances below this share of their mean count as this share.
        per_output: one scale for each index of the last axis, not one for all: for outputs of different units.

    Raises:
        ScaleError: all variances or all errors are zero, or something is not finite.
        ValueError: an unknown kind, or shapes that differ.
    """
    kinds = KINDS if aleatoric is None else HETEROSCEDASTIC_KINDS
    if kind not in kinds:
        where = "" if aleatoric is None else " for a heteroscedastic head"
        raise ValueError(f"unknown scale {kind!r}{where}{suggestion(kind, kinds)}; there are {', '.join(kinds)}")
    given = {"mean": mean, "variance": variance, "y": y} | ({} if aleatoric is None else {"aleatoric": aleatoric})
    arrays = {name: np.asarray(array, np.float64) for name, array in given.items()}
    shapes = {name: array.shape for name, array in arrays.items()}
    if len(set(shapes.values())) > 1 or not arrays["y"].size:
        raise ValueError(f"scales are fitted on arrays of one shape, not empty; got {shapes}")
    if bad := [name for name, array in arrays.items() if not np.isfinite(array).all()]:
        raise ScaleError(f"{' and '.join(bad)}: not finite everywhere")
    if per_output:
        last = range(arrays["y"].shape[-1])
        parts = [_fit(kind, **{name: a[..., i] for name, a in arrays.items()}, var_floor=var_floor) for i in last]
        return Scale(kind, *(tuple(getattr(part, name) for part in parts) for name in _NUMBERS))
    return _fit(kind, **arrays, var_floor=var_floor)


def _fit(
    kind: ScaleKind,
    mean: np.ndarray,
    variance: np.ndarray,
    y: np.ndarray,
    aleatoric: np.ndarray | None = None,
    var_floor: float = VAR_FLOOR,
) -> Scale:
    squares = squared_errors(mean, y).ravel()
    if not squares.any():
        raise ScaleError("all errors are zero: the most likely variance is zero too; are these the training rows?")
    if kind == "constant":
        return Scale("constant", factor=0.0, offset=float(squares.mean()))
    if not variance.any():
        raise ScaleError(
            "the variance over the passes is zero everywhere: the sites have no effect on the output (dead units), or "
            "the rate is so small that no pass dropped anything; take a larger rate, more samples or other sites"
        )
    floor = var_floor * float(variance.mean())
    v = variance.ravel().clip(floor)
    if not v.all():
        raise ScaleError(
            "some variances over the passes are zero, so that no factor is right for them: set a var_floor"
        )
    u = None if aleatoric is None else aleatoric.ravel()
    if kind == "affine":
        factor, offset = _affine(squares, v, np.ones_like(v) if u is None else u)
        return Scale("affine", factor=factor, offset=offset, floor=floor)
    if kind == "power":
        factor, power = _power(squares, v)
        return Scale("power", factor=factor, power=power, floor=floor)
    factor, offset = (optimal_factor(squares, v), 0.0) if u is None else (_added(squares, v, u), 1.0)
    if kind == "relaxed":
        relaxation = _relaxation(np.sqrt(squares / (factor * v + (0 if u is None else u))))
        factor, offset = relaxation * factor, relaxation * offset
    return Scale(kind, factor=factor, offset=offset, floor=floor)


def _affine(squares: np.ndarray, v: np.ndarray, u: np.ndarray) -> tuple[float, float]:
    """Factors a and b of a·v + b·u.

    The size is profiled out as in C*, and the mixture searched from b = 0 to a = 0, both included. The likelihood need
    not have one maximum, so a fine grid comes first.
    """
    v_unit, u_unit = optimal_factor(squares, v), optimal_factor(squares, u)

    def mixture(share: float) -> np.ndarray:
        return share * v_unit * v + (1 - share) * u_unit * u

    share, _ = minimise(lambda share: profile(squares, mixture(share)), _SHARES)
    size = optimal_factor(squares, mixture(share))
    return size * share * v_unit, size * (1 - share) * u_unit


def _power(squares: np.ndarray, v: np.ndarray) -> tuple[float, float]:
    """C and γ of C·v^γ: C profiled out, the rest convex in γ (a log-sum-exp plus a linear function)."""
    logs = np.log(v)
    logs -= logs.mean()

    def values(power: float) -> np.ndarray:
        return np.exp(power * logs)

    power, _ = minimise(lambda power: profile(squares, values(power)), (0, *np.geomspace(1 / 64, 8, 19)))
    return optimal_factor(squares, v**power), power


def _added(squares: np.ndarray, v: np.ndarray, u: np.ndarray) -> float:
    """C of C·v + u; 0, which leaves the head's own variance, is tried too."""

    def cost(log_factor: float) -> float:
        total = math.exp(log_factor) * v + u
        return float(np.mean(np.log(total) + squares / total))

    centre = math.log(optimal_factor(squares, v))
    log_factor, least = minimise(cost, np.linspace(centre - 24, centre + 4, 85).tolist())
    return math.exp(log_factor) if least < cost(-math.inf) else 0.0


def _relaxation(ratios: np.ndarray) -> float:
    """The c with which intervals √c times as wide hold their share, on average over the levels 0, 10, ..., 90 %.

    The area between observed and nominal coverage grows with c, but on finitely many rows in steps, so that the
    bracket's width ends the search where no c reaches an area of 1e-4.

    Args:
        ratios: absolute errors in standard deviations.
    """
    ordered = np.sort(ratios)

    def area(c: float) -> float:
        observed = np.searchsorted(ordered, _QUANTILES * math.sqrt(c), side="right") / len(ordered)
        return float(np.trapezoid(observed - _LEVELS, _LEVELS))

    low = high = 1.0
    while area(low) > 0:
        low, high = low / 2, low
        if low < 1e-30:
            raise ScaleError("most errors are zero: every interval covers too much, and no relaxed factor mends it")
    while area(high) < 0:
        low, high = high, high * 2
        if high > 1e30:
            raise ScaleError("most variances are zero against their errors: no relaxed factor gives enough coverage")
    while high - low > 1e-9 * high and min(abs(area(low)), abs(area(high))) > 1e-4:
        middle = (low + high) / 2
        low, high = (middle, high) if area(middle) < 0 else (low, middle)
    return min((low, high), key=lambda c: abs(area(c)))
