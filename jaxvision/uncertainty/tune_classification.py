"""Rate and temperature of a classification, jointly by the likelihood of validation rows.

The temperature is fitted to the averaged probabilities (Laves et al. 2019, arXiv 1909.13550), which are less sure than
any one pass, so that it is not that of the deterministic network (Guo et al. 2017).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxvision.uncertainty.batches import Rows, batches
from jaxvision.uncertainty.candidates import Candidate
from jaxvision.uncertainty.search import minimise, parabola
from jaxvision.uncertainty.statistics import class_logits

if TYPE_CHECKING:
    from jaxvision.uncertainty.net import Net

# Octaves around the deterministic network's temperature: averaging over passes softens, so mostly below.
_OCTAVES = np.linspace(-2, 2 / 3, 9)
_WIDEST = np.log(2.0) * np.linspace(-5, 5, 41)
_MOST_LOGITS = 2**24


def class_labels(net: "Net", x: Rows, y: np.ndarray) -> Int[np.ndarray, "n ..."]:
    """The labels as integers in the shape of the outputs, checked.

    Raises:
        ValueError: another shape than the outputs have, or what is no class.
    """
    first = next(batches(x, 1))
    *shape, classes = jax.eval_shape(
        lambda images: class_logits(net.task, net.deterministic(images)), jnp.asarray(first.images)
    ).shape[1:]
    if y.dtype.kind not in "iub" and not (y.dtype.kind == "f" and (y == np.round(y)).all()):
        raise ValueError(
            f"labels of a {net.task} are class numbers, but y holds {y.dtype}: for numbers say task='regression'"
        )
    if [n for n in y.shape[1:] if n != 1] != [n for n in shape if n != 1]:
        raise ValueError(f"labels of a row have the shape {y.shape[1:]}, but the network needs {tuple(shape)}")
    if y.min() < 0 or y.max() >= classes:
        raise ValueError(
            f"labels go from 0 to {classes - 1} in a {net.task} of these outputs; y goes from {y.min()} to {y.max()}"
        )
    return y.reshape(len(y), *shape).astype(np.int32)


def averaged_nll(
    net: "Net",
    x: Rows,
    labels: Int[np.ndarray, "n ..."],
    key: jax.Array,
    rates: Sequence[float],
    temperatures: Sequence[float],
    num_samples: int,
    batch_size: int,
    chosen: Bool[np.ndarray, " n"] | None = None,
) -> Float[np.ndarray, "r t"]:
    """Mean negative log-likelihood of the averaged probabilities at each rate and temperature.

    All rates and temperatures run in one compiled function; sums are in float64.
    """
    total, seen = np.zeros((len(rates), len(temperatures))), 0
    grid, heats = jnp.asarray(rates, jnp.float32), jnp.asarray(temperatures, jnp.float32)
    for batch in batches(x, batch_size, chosen):
        images, own, rows = (jnp.asarray(array) for array in (batch.images, labels[batch.rows], batch.rows))
        logs = net.label_log_probs(images, own, key, grid, heats, num_samples, rows=rows)
        total -= np.asarray(logs, np.float64)[:, :, : batch.count].sum(axis=tuple(range(2, logs.ndim)))
        seen += batch.count
    return total / (seen * math.prod(labels.shape[1:]))


@dataclass(frozen=True)
class PlainLogits:
    """What the network without dropout says of some rows; of dense outputs, of a fixed random choice of places.

    Attributes:
        logits: of the classes.
        labels: the true classes.
    """

    logits: Float[Array, "n k"]
    labels: Int[Array, " n"]

    @classmethod
    def of(
        cls,
        net: "Net",
        x: Rows,
        labels: Int[np.ndarray, "n ..."],
        batch_size: int,
        chosen: Bool[np.ndarray, " n"] | None = None,
    ) -> "PlainLogits":
        """Runs the network."""
        logits, own = [], []
        for batch in batches(x, batch_size, chosen):
            outputs = _class_logits(net.task, net.deterministic(jnp.asarray(batch.images)))
            flat = np.asarray(outputs)[: batch.count].reshape(-1, outputs.shape[-1])
            truth = labels[batch.rows[: batch.count]].ravel()
            most = max(1, int(_MOST_LOGITS / len(labels) * batch.count / flat.shape[-1]))
            if labels.ndim > 2 and most < len(flat):
                places = np.random.default_rng(int(batch.rows[0])).choice(len(flat), most, replace=False)
                flat, truth = flat[places], truth[places]
            logits.append(flat)
            own.append(truth)
        return cls(jnp.asarray(np.concatenate(logits)), jnp.asarray(np.concatenate(own)))

    def nll(self, temperature: float) -> float:
        """Mean negative log-likelihood at a temperature."""
        return float(_nll(self.logits, self.labels, np.float32(temperature)))

    def temperature(self) -> float:
        """The best temperature (Guo et al. 2017), searched on its logarithm between 1/32 and 32."""
        return math.exp(minimise(lambda log: self.nll(math.exp(log)), _WIDEST.tolist(), tolerance=1e-3)[0])


_class_logits = jax.jit(class_logits, static_argnums=0)


@jax.jit
def _nll(logits: Float[Array, "n k"], labels: Int[Array, " n"], temperature: Float[Array, ""]) -> Float[Array, ""]:
    logs = jax.nn.log_softmax(logits / temperature, axis=-1)
    return -jnp.take_along_axis(logs, labels[:, None], axis=-1).mean()


def fit_classification(
    net: "Net",
    x: Rows,
    labels: Int[np.ndarray, "n ..."],
    key: jax.Array,
    rates: Sequence[float],
    num_samples: int,
    batch_size: int,
    scaled: bool,
    chosen: Bool[np.ndarray, " n"] | None = None,
) -> tuple[int, tuple[Candidate, ...], tuple[Candidate, ...]]:
    """Sweeps rates and temperatures, refines the temperature by a parabola, and chooses.

    Args:
        net: the network.
        x: the rows.
        labels: as `class_labels` gives them.
        key: of the passes.
        rates: to try.
        num_samples: passes.
        batch_size: rows at a time.
        scaled: choose with a temperature; else with temperature 1.
        chosen: which rows to use.

    Returns:
        The index of the chosen rate, the likelihoods at every rate, and all candidates, baselines first.

    Raises:
        ValueError: the likelihoods are not finite at any rate.
    """
    plain = PlainLogits.of(net, x, labels, batch_size, chosen)
    heat = plain.temperature()
    grid = heat * 2.0**_OCTAVES
    found = averaged_nll(net, x, labels, key, rates, [*grid, 1.0], num_samples, batch_size, chosen)
    finite = np.isfinite(found).all(axis=1)
    if not finite.any():
        raise ValueError("the network's outputs are not finite on these rows, at any rate")
    table = np.where(finite[:, None], found, np.inf)
    warm, flat = [], []
    for rate, row, sound in zip(rates, table, finite, strict=True):
        log_temperature, low = parabola(np.log(grid), row[:-1]) if sound else (0.0, None)
        note = "" if sound else "outputs are not finite"
        warm.append(Candidate(_WARM, low, rate, temperature=math.exp(log_temperature), note=note))
        flat.append(
            Candidate(_FLAT, float(row[-1]) if sound else None, rate, temperature=1.0, baseline=scaled, note=note)
        )
    best, one = (min(range(len(rates)), key=lambda i: _cost(sweep[i])) for sweep in (warm, flat))
    # The parabola's value is an estimate: the chosen point is computed, and has to beat the grid.
    temperature = float(warm[best].temperature or 1.0)
    near = [rates[best], rates[one]], [temperature, 1.0]
    exact = averaged_nll(net, x, labels, key, *near, num_samples, batch_size, chosen)[0, 0]
    lowest = int(np.argmin(table[best, :-1]))
    if exact > table[best, lowest]:
        temperature, exact = float(grid[lowest]), table[best, lowest]
    warm[best] = replace(warm[best], nll=float(exact), temperature=temperature)
    baselines = [
        Candidate("deterministic softmax", plain.nll(1), temperature=1.0, baseline=True),
        Candidate("temperature-scaled softmax", plain.nll(heat), temperature=heat, baseline=True),
    ]
    candidates = (*baselines, flat[one], warm[best])
    return (best, tuple(warm), candidates) if scaled else (one, tuple(flat), candidates)


_WARM = "averaged softmax, temperature-scaled"
_FLAT = "averaged softmax"


def _cost(candidate: Candidate) -> float:
    return np.inf if candidate.nll is None else candidate.nll


def score_classification(
    candidates: Sequence[Candidate],
    net: "Net",
    x: Rows,
    labels: Int[np.ndarray, "n ..."],
    key: jax.Array,
    num_samples: int,
    batch_size: int,
    chosen: Bool[np.ndarray, " n"] | None = None,
) -> tuple[Candidate, ...]:
    """The candidates with their likelihoods on test rows."""
    plain = PlainLogits.of(net, x, labels, batch_size, chosen)
    sampled = [(c.rate, c.temperature or 1.0) for c in reversed(candidates) if c.rate is not None]
    rates, heats = [rate for rate, _ in sampled], [heat for _, heat in sampled]
    averaged = averaged_nll(net, x, labels, key, rates, heats, num_samples, batch_size, chosen)

    def tested(candidate: Candidate) -> float:
        if candidate.rate is None:
            return plain.nll(candidate.temperature or 1.0)
        index = sampled.index((candidate.rate, candidate.temperature or 1.0))
        return float(averaged[index, index])

    return tuple(replace(candidate, test_nll=tested(candidate)) for candidate in candidates)
