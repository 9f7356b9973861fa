"""Statistics of many passes that are updated chunk by chunk, in float32, and need no memory for the passes.

Means and second moments are merged by the formula of Chan, Golub and LeVeque (1979): the difference of the mean square
and the squared mean would lose everything where the mean is large against the deviation.
"""

from dataclasses import dataclass, replace
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxvision.uncertainty.results import entropy_of


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Welford:
    """Count, mean, and sum of squared deviations."""

    count: Float[Array, ""]
    mean: Float[Array, "..."]
    squares: Float[Array, "..."]

    @classmethod
    def of(cls, values: Float[Array, "s ..."]) -> "Welford":
        """Of several values at once, by two passes."""
        values = values.astype(jnp.float32)
        mean = values.mean(0)
        # Corrected for the rounding of the mean.
        deviations = values - mean
        mean = mean + deviations.mean(0)
        return cls(jnp.float32(len(values)), mean, jnp.square(values - mean).sum(0))

    def merge(self, other: "Welford") -> "Welford":
        """Of both sets together."""
        count = self.count + other.count
        delta = other.mean - self.mean
        share = other.count / count
        return Welford(
            count,
            self.mean + delta * share,
            self.squares + other.squares + jnp.square(delta) * self.count * share,
        )

    @property
    def variance(self) -> Float[Array, "..."]:
        """With ddof 1; NaN of a single value."""
        return self.squares / jnp.where(self.count > 1, self.count - 1, jnp.nan)

    @property
    def standard_error(self) -> Float[Array, "..."]:
        """Of the mean."""
        return jnp.sqrt(self.variance / self.count)


class Statistic(Protocol):
    """What is kept of the passes. Hashable: it is a static argument of a compiled function."""

    def of(self, outputs: Float[Array, "s b ..."], context: Any) -> Any:
        """The state after one chunk of passes. ``context`` is what `jaxvision.uncertainty.sample` was given for it."""

    def merge(self, a: Any, b: Any) -> Any:
        """The state of two sets of passes together."""

    def empty(self, shapes: Any) -> Any:
        """The state of no passes, from the shapes of a state: what `merge` leaves the other as it is with."""

    def error(self, state: Any) -> Float[Array, " b"]:
        """Each example's standard error, for stopping early."""

    def finish(self, state: Any) -> dict[str, Float[Array, "b ..."]]:
        """What is told of the examples, by name."""


def _zeros(shapes: Any) -> Any:
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)


def _nothing(shape: Any) -> Float[Array, "..."]:
    """Log of a sum of nothing."""
    return jnp.full(shape.shape, -jnp.inf, shape.dtype)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class ClassState:
    """Of class probabilities; see `ClassStatistic`."""

    probs: Welford
    log_sum: Float[Array, "b k"]
    entropy: Welford
    votes: Int[Array, "b k"]


@dataclass(frozen=True)
class ClassStatistic:
    """Of logits: mean and variance of the probabilities, the mean entropy, and the votes.

    ``context`` is the temperature.
    """

    task: str

    def of(self, outputs: Float[Array, "s b k"], context: Float[Array, ""]) -> ClassState:
        """Of one chunk of logits."""
        logs = log_probabilities(self.task, outputs, context)
        probs = jnp.exp(logs)
        votes = jax.nn.one_hot(logs.argmax(-1), logs.shape[-1], dtype=jnp.int32).sum(0)
        return ClassState(Welford.of(probs), jax.nn.logsumexp(logs, axis=0), Welford.of(entropy_of(probs)), votes)

    def merge(self, a: ClassState, b: ClassState) -> ClassState:
        """Of two."""
        return ClassState(
            a.probs.merge(b.probs),
            jnp.logaddexp(a.log_sum, b.log_sum),
            a.entropy.merge(b.entropy),
            a.votes + b.votes,
        )

    def empty(self, shapes: ClassState) -> ClassState:
        """Of none."""
        return replace(_zeros(shapes), log_sum=_nothing(shapes.log_sum))

    def finish(self, state: ClassState) -> dict[str, Float[Array, "b ..."]]:
        """See `jaxvision.uncertainty.results.ClassificationPrediction`."""
        count = state.probs.count
        return {
            "probs": state.probs.mean,
            "log_probs": state.log_sum - jnp.log(count),
            "variance": state.probs.variance,
            "expected_entropy": state.entropy.mean,
            "votes": state.votes / count,
        }

    def error(self, state: ClassState) -> Float[Array, " b"]:
        """The largest standard error of a class's probability."""
        return state.probs.standard_error.max(tuple(range(1, state.probs.mean.ndim)))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class ValueState:
    """Of numbers; see `ValueStatistic`."""

    values: Welford
    noise: Welford | None


@dataclass(frozen=True)
class ValueStatistic:
    """Mean and variance of the outputs, and the mean of the variances of a heteroscedastic head."""

    task: str

    def of(self, outputs: Float[Array, "s b d"], context: Any) -> ValueState:
        """Of one chunk of outputs."""
        values, noise = values_and_noise(self.task, outputs)
        return ValueState(Welford.of(values), None if noise is None else Welford.of(noise))

    def merge(self, a: ValueState, b: ValueState) -> ValueState:
        """Of two."""
        noise = None if a.noise is None or b.noise is None else a.noise.merge(b.noise)
        return ValueState(a.values.merge(b.values), noise)

    def empty(self, shapes: ValueState) -> ValueState:
        """Of none."""
        empty: ValueState = _zeros(shapes)
        return empty

    def finish(self, state: ValueState) -> dict[str, Float[Array, "b ..."]]:
        """Mean, variance and, if there is any, noise."""
        done = {"mean": state.values.mean, "variance": state.values.variance}
        return done if state.noise is None else {**done, "aleatoric": state.noise.mean}

    def error(self, state: ValueState) -> Float[Array, " b"]:
        """The largest standard error of a mean."""
        return state.values.standard_error.max(tuple(range(1, state.values.mean.ndim)))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class LabelState:
    """See `LabelStatistic`."""

    count: Float[Array, ""]
    log_sum: Float[Array, "t b"]


@dataclass(frozen=True)
class LabelStatistic:
    """The label's probability at several temperatures, summed over the passes in log space.

    ``context`` is the temperatures and the labels.
    """

    task: str

    def of(self, outputs: Float[Array, "s b k"], context: tuple[Float[Array, " t"], Int[Array, " b"]]) -> LabelState:
        """Of one chunk of logits."""
        temperatures, labels = context
        logits = class_logits(self.task, outputs)

        def at(temperature: Float[Array, ""]) -> Float[Array, " b"]:
            logs = jax.nn.log_softmax(logits / temperature, axis=-1)
            own = jnp.take_along_axis(logs, labels[None, ..., None], axis=-1)[..., 0]
            return jax.nn.logsumexp(own, axis=0)

        return LabelState(jnp.float32(len(outputs)), jax.lax.map(at, temperatures))

    def merge(self, a: LabelState, b: LabelState) -> LabelState:
        """Of two."""
        return LabelState(a.count + b.count, jnp.logaddexp(a.log_sum, b.log_sum))

    def empty(self, shapes: LabelState) -> LabelState:
        """Of none."""
        return LabelState(jnp.zeros(()), _nothing(shapes.log_sum))

    def finish(self, state: LabelState) -> dict[str, Float[Array, "b ..."]]:
        """Log of the mean probability of the label."""
        return {"log_probs": jnp.moveaxis(state.log_sum - jnp.log(state.count), 0, 1)}

    def error(self, state: LabelState) -> Float[Array, " b"]:
        """Labels' probabilities are for tuning, which takes all the passes it was given."""
        return jnp.full(state.log_sum.shape[1:2], jnp.inf)


def class_logits(task: str, outputs: Float[Array, "*b k"]) -> Float[Array, "*b c"]:
    """A network's outputs as logits of classes on the last axis, in float32.

    Raises:
        ValueError: the outputs do not fit the task.
    """
    outputs = outputs.astype(jnp.float32)
    if task == "classification":
        if outputs.shape[-1] < 2:
            raise ValueError("the network has one output: inject with task='binary' for one logit, or 'regression'")
        return outputs
    if task == "binary":
        if outputs.shape[-1] != 1:
            raise ValueError(f"task='binary' is for one logit, but the network has {outputs.shape[-1]} outputs")
        return jnp.concatenate([jnp.zeros_like(outputs), outputs], axis=-1)
    return jnp.stack([jnp.zeros_like(outputs), outputs], axis=-1)


def log_probabilities(task: str, outputs: Float[Array, "*b k"], temperature: Float[Array, ""]) -> Float[Array, "*b c"]:
    """Log-probabilities of the classes at a temperature (Guo et al. 2017)."""
    return jax.nn.log_softmax(class_logits(task, outputs) / temperature, axis=-1)


def values_and_noise(
    task: str, outputs: Float[Array, "*b d"]
) -> tuple[Float[Array, "*b d"], Float[Array, "*b d"] | None]:
    """The predicted numbers, and their predicted variances if the head is heteroscedastic.

    Raises:
        ValueError: a heteroscedastic head with an odd number of outputs.
    """
    outputs = outputs.astype(jnp.float32)
    if task != "heteroscedastic":
        return outputs, None
    if outputs.shape[-1] % 2:
        raise ValueError(f"a heteroscedastic head gives means, then log variances; {outputs.shape[-1]} outputs are odd")
    means, logs = jnp.split(outputs, 2, axis=-1)
    return means, jnp.exp(logs)
