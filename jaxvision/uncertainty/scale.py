"""From the variance of random passes to the variance of the prediction: one formula, for all scales.

Dropout in a network that was trained without it says where the output is sensitive, not by how much it is wrong. The
unit is fitted on validation data (Ledda, Fumera, Roli 2023, arXiv 2302.02924). All scales are cases of

    s = factor · v^power + offset · u

with v the variance over the passes and u = 1, or, with a heteroscedastic head, u the variance that it predicts.
`jaxvision.uncertainty.scale_fit` fits it.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, TypeVar, get_args

import numpy as np
from jaxtyping import Array, Float

ScaleKind = Literal["variance", "relaxed", "affine", "power", "constant"]
KINDS: tuple[ScaleKind, ...] = get_args(ScaleKind)
HETEROSCEDASTIC_KINDS: tuple[ScaleKind, ...] = ("variance", "relaxed", "affine")
VAR_FLOOR = 1e-6

Numbers = float | tuple[float, ...]
Values = TypeVar("Values", np.ndarray, Array)


class ScaleError(ValueError):
    """No scale can be fitted: the variances are all zero, or the errors are, or a number is not finite."""


@dataclass(frozen=True)
class Scale:
    """``factor · max(v, floor)^power + offset · u``; each number one for all outputs, or one an output.

    Attributes:
        kind: how it was fitted; see `fit_scale`.
        factor: of the variance over the passes: the paper's C. A standard deviation is multiplied by its root.
        power: 1 but for ``"power"``.
        offset: a variance that does not depend on the passes; with a heteroscedastic head, a factor of the predicted
            variance.
        floor: variances below it count as it: those of dead units are zero.
    """

    kind: ScaleKind
    factor: Numbers = 1.0
    power: Numbers = 1.0
    offset: Numbers = 0.0
    floor: Numbers = 0.0

    def parts(self, variance: Values, aleatoric: Values | None = None) -> tuple[Values, Values | None]:
        """What comes of the passes (epistemic), and the rest (aleatoric; None where there is none).

        Works on NumPy and, also under `jax.jit`, on JAX arrays; the numbers broadcast against the last axis.
        """
        factor, power, offset, floor = (_array(n) for n in (self.factor, self.power, self.offset, self.floor))
        epistemic = (factor * variance.clip(floor) ** power).astype(variance.dtype)
        if aleatoric is not None:
            return epistemic, (offset * aleatoric).astype(aleatoric.dtype)
        return epistemic, (0 * variance + offset).astype(variance.dtype) if np.any(offset) else None

    def variance(self, variance: Values, aleatoric: Values | None = None) -> Values:
        """The variance of the prediction, from that of the passes and that of a heteroscedastic head."""
        epistemic, rest = self.parts(variance, aleatoric)
        return epistemic if rest is None else epistemic + rest

    @property
    def num_parameters(self) -> int:
        """How many numbers were fitted."""
        outputs = len(self.factor) if isinstance(self.factor, tuple) else 1
        return outputs * (1 if self.kind in ("variance", "constant") else 2)

    def to_json(self) -> dict[str, Any]:
        """A document that `from_json` reads."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Any) -> "Scale":
        """Reads a document.

        Raises:
            ValueError: it is not a scale.
        """
        known = {field.name for field in fields(cls)}
        if not isinstance(document, Mapping) or set(document) != known:
            raise ValueError(f"a scale has {', '.join(sorted(known))}; got {document!r}")
        numbers = {n: tuple(v) if isinstance(v, list) else v for n, v in document.items() if n != "kind"}
        return cls(document["kind"], **numbers)


def _array(numbers: Numbers) -> Any:
    return np.asarray(numbers) if isinstance(numbers, tuple) else numbers


def squared_errors(mean: Float[np.ndarray, "..."], y: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """In float64."""
    return np.square(np.asarray(y, np.float64) - np.asarray(mean, np.float64))


def nll(mean: Float[np.ndarray, "..."], variance: Float[np.ndarray, "..."], y: Float[np.ndarray, "..."]) -> float:
    """Mean negative log-likelihood of a Gaussian in nats, ½ log 2π included, in float64."""
    variance = np.asarray(variance, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(0.5 * np.mean(np.log(2 * np.pi * variance) + squared_errors(mean, y) / variance))


def optimal_factor(squares: Float[np.ndarray, "..."], variance: Float[np.ndarray, "..."]) -> float:
    """The paper's C* = mean(e² / v), where the likelihood of C·v is largest; the only such point.

    Args:
        squares: squared errors.
        variance: over the passes, above 0.
    """
    return float(np.mean(squares / variance))


def profile(squares: Float[np.ndarray, "..."], variance: Float[np.ndarray, "..."]) -> float:
    """J = log C* + mean log v, in which C is profiled out: the NLL at C* is ½ (J + 1 + log 2π)."""
    return math.log(optimal_factor(squares, variance)) + float(np.mean(np.log(variance)))
