"""Rate, scale and centre of a regression, jointly by the likelihood of validation rows."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from jaxvision.uncertainty.batches import Rows, batches
from jaxvision.uncertainty.candidates import CENTERS, Candidate, Center
from jaxvision.uncertainty.scale import HETEROSCEDASTIC_KINDS, KINDS, Scale, ScaleError, ScaleKind, nll
from jaxvision.uncertainty.scale_fit import fit_scale
from jaxvision.uncertainty.statistics import values_and_noise

if TYPE_CHECKING:
    from jaxvision.uncertainty.net import Net

_AUTOMATIC = ("variance", "affine", "power")
_MOST_VALUES = 2**18  # of dense outputs; neighbours say nearly the same, so that a sample of the places is enough


@dataclass(frozen=True)
class Passes:
    """What the passes over some rows gave, at each of several rates, and the truth; the values of a row on one axis.

    Attributes:
        y: the truth.
        deterministic: output of the network without dropout.
        own: variance that a heteroscedastic head predicts without dropout, else None.
        mean: over the passes.
        variance: over the passes.
        aleatoric: mean of the variances that a heteroscedastic head predicts, else None.
    """

    y: Float[np.ndarray, "n v"]
    deterministic: Float[np.ndarray, "n v"]
    own: Float[np.ndarray, "n v"] | None
    mean: Float[np.ndarray, "r n v"]
    variance: Float[np.ndarray, "r n v"]
    aleatoric: Float[np.ndarray, "r n v"] | None

    def center(self, center: Center | None, rate: int) -> Float[np.ndarray, "n v"]:
        """The centre of the prediction at the rate of this index."""
        return self.mean[rate] if center == "mc" else self.deterministic

    def noise(self, rate: int) -> Float[np.ndarray, "n v"] | None:
        """The variance that a heteroscedastic head predicts, at the rate of this index."""
        return None if self.aleatoric is None else self.aleatoric[rate]


def value_labels(net: "Net", x: Rows, y: np.ndarray) -> Float[np.ndarray, "n ..."]:
    """The truth in the shape of the outputs, of which axes of length 1 may be left out.

    Raises:
        ValueError: it has another shape, or is no number.
    """
    first = next(batches(x, 1))
    outputs = jax.eval_shape(
        lambda images: values_and_noise(net.task, net.deterministic(images))[0], jnp.asarray(first.images)
    )
    shape = outputs.shape[1:]
    if y.dtype.kind not in "fiub":
        raise ValueError(f"the truth of a {net.task} is numbers, but y holds {y.dtype}")
    if [n for n in y.shape[1:] if n != 1] != [n for n in shape if n != 1]:
        raise ValueError(
            f"the truth of a row has the shape {y.shape[1:]}, but a {net.task} of these outputs needs {shape}"
        )
    return y.reshape(len(y), *shape)


def run_passes(
    net: "Net",
    x: Rows,
    y: Float[np.ndarray, "n ..."],
    key: jax.Array,
    rates: Sequence[float],
    num_samples: int,
    batch_size: int,
    chosen: Bool[np.ndarray, " n"] | None = None,
) -> Passes:
    """Makes the passes over the chosen rows, all rates in one compiled function; ``y`` as `value_labels` gives it."""
    parts: list[list[np.ndarray]] = []
    shape = y.shape[1:]
    places = _places(len(y), shape) if len(shape) > 1 else slice(None)
    grid = jnp.asarray(rates, jnp.float32)
    for batch in batches(x, batch_size, chosen):
        images = jnp.asarray(batch.images)
        moments = net.moments(images, key, grid, num_samples, rows=jnp.asarray(batch.rows))
        arrays: list[Any] = [moments.deterministic, moments.mean, moments.variance]
        if net.task == "heteroscedastic":
            arrays += [values_and_noise(net.task, net.deterministic(images))[1], moments.aleatoric]
        part = []
        for array in arrays:
            lead = array.shape[: array.ndim - len(shape)]
            values = np.asarray(array).reshape(*lead, -1)
            part.append(values[..., : batch.count, places])
        parts.append(part)
    deterministic, mean, variance, *noise = (np.concatenate(list(p), axis=-2) for p in zip(*parts, strict=True))
    truth = y.reshape(len(y), -1)[:, places]
    own, aleatoric = noise or (None, None)
    return Passes(truth if chosen is None else truth[chosen], deterministic, own, mean, variance, aleatoric)


def _places(count: int, shape: tuple[int, ...]) -> np.ndarray | slice:
    """Places of a dense output that are looked at: all, or of many a fixed random choice."""
    total, most = int(np.prod(shape)), max(1, _MOST_VALUES // count)
    return slice(None) if total <= most else np.sort(np.random.default_rng(0).choice(total, most, replace=False))


def fit_regression(
    passes: Passes,
    rates: Sequence[float],
    scale: str | None,
    center: Center | None,
    var_floor: float,
    per_output: bool,
) -> tuple[int, tuple[Candidate, ...], tuple[Candidate, ...]]:
    """Fits every scale and centre at every rate, and chooses.

    Returns:
        The index of the chosen rate, the chosen scale and centre at every rate, and all candidates, baselines first.

    Raises:
        ScaleError: nothing can be fitted at any rate.
    """
    kinds = KINDS if passes.aleatoric is None else HETEROSCEDASTIC_KINDS
    sweeps = {
        (kind, where): tuple(
            _at_rate(passes, index, rate, kind, where, var_floor, per_output) for index, rate in enumerate(rates)
        )
        for kind in kinds
        for where in CENTERS
    }
    rows = len(passes.y)
    indices = {which: int(np.argmin([_criterion(c, rows) for c in sweep])) for which, sweep in sweeps.items()}
    bests = {which: sweep[indices[which]] for which, sweep in sweeps.items()}
    possible = [
        (kind, where)
        for kind, where in sweeps
        if center in (None, where) and kind in ((scale,) if scale else _AUTOMATIC)
    ]
    chosen = min(possible, key=lambda which: _criterion(bests[which], rows))
    if bests[chosen].nll is None:
        raise ScaleError(f"no scale can be fitted at any rate: at rate {bests[chosen].rate}, {bests[chosen].note}")
    # A constant around the deterministic output is the first baseline already.
    others = [best for which, best in bests.items() if which == chosen or which != ("constant", "deterministic")]
    return indices[chosen], sweeps[chosen], (*_baselines(passes, rates, var_floor, per_output), *others)


def _criterion(candidate: Candidate, rows: int) -> float:
    """Akaike's criterion (1974) per row and halved: a parameter has to gain 1/n nats."""
    if candidate.nll is None or candidate.scale is None:
        return np.inf
    return candidate.nll + candidate.scale.num_parameters / rows


def _at_rate(
    passes: Passes, index: int, rate: float, kind: ScaleKind, center: Center, var_floor: float, per_output: bool
) -> Candidate:
    name = f"{kind}, {center} centre"
    mean, variance, noise = passes.center(center, index), passes.variance[index], passes.noise(index)
    try:
        scale = fit_scale(kind, mean, variance, passes.y, aleatoric=noise, var_floor=var_floor, per_output=per_output)
    except ScaleError as error:
        return Candidate(name, None, rate, center=center, note=str(error))
    value = _nll(passes, index, scale, center)
    if not np.isfinite(value):
        return Candidate(name, None, rate, center=center, note="the likelihood is not finite")
    return Candidate(name, value, rate, scale, center)


def _nll(passes: Passes, index: int, scale: Scale, center: Center | None) -> float:
    variance, noise = passes.variance[index].astype(np.float64), passes.noise(index)
    return nll(passes.center(center, index), scale.variance(variance, noise), passes.y)


def _baselines(passes: Passes, rates: Sequence[float], var_floor: float, per_output: bool) -> tuple[Candidate, ...]:
    """A constant variance; a heteroscedastic head's own, as it is and scaled; dropout without a scale."""
    y, plain = passes.y, passes.deterministic
    constant = fit_scale("constant", plain, np.zeros_like(plain), y, per_output=per_output)
    found: list[tuple[str, Scale, np.ndarray | None]] = [("constant variance", constant, None)]
    if passes.own is not None:
        scaled = fit_scale("variance", plain, passes.own, y, var_floor=var_floor, per_output=per_output)
        found += [("the head's own variance", Scale("variance", 0.0, offset=1.0), passes.own)]
        found += [("the head's own variance, scaled", Scale("affine", 0.0, offset=scaled.factor), passes.own)]
    baselines = [
        Candidate(
            name, nll(plain, scale.variance(np.zeros(plain.shape), own), y), None, scale, "deterministic", baseline=True
        )
        for name, scale, own in found
    ]
    unscaled = []
    for index, rate in enumerate(rates):
        floor = var_floor * float(passes.variance[index].mean())
        scale = Scale("variance", 1.0, offset=0.0 if passes.own is None else 1.0, floor=floor)
        with np.errstate(divide="ignore", invalid="ignore"):
            value = _nll(passes, index, scale, "mc")
        if np.isfinite(value):
            unscaled.append(Candidate("dropout, not scaled", value, rate, scale, "mc", baseline=True))
    return (*baselines, *sorted(unscaled, key=lambda c: c.nll or 0)[:1])


def score_regression(
    candidates: Sequence[Candidate],
    rates: Sequence[float],
    net: "Net",
    x: Rows,
    y: Float[np.ndarray, "n ..."],
    key: jax.Array,
    num_samples: int,
    batch_size: int,
    chosen: Bool[np.ndarray, " n"] | None = None,
) -> tuple[Candidate, ...]:
    """The candidates with their likelihoods on test rows.

    All ``rates`` of the sweep are run again, though not all are needed, since that function is compiled already.
    """
    passes = run_passes(net, x, y, key, rates, num_samples, batch_size, chosen)

    def tested(candidate: Candidate) -> Candidate:
        if candidate.scale is None:
            return candidate
        if candidate.rate is None:
            noise = None if candidate.name == "constant variance" else passes.own
            variance = candidate.scale.variance(np.zeros(passes.y.shape), noise)
            return replace(candidate, test_nll=nll(passes.deterministic, variance, passes.y))
        return replace(candidate, test_nll=_nll(passes, rates.index(candidate.rate), candidate.scale, candidate.center))

    return tuple(tested(candidate) for candidate in candidates)
