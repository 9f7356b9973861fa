"""What many random passes say together, as pytrees."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax.scipy.special import ndtri
from jaxtyping import Array, Bool, Float, Int


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class ClassificationPrediction:
    """The classes of examples, and how sure the network is. Entropies are in nats.

    Of dense outputs ``b`` stands for all the axes but the classes'; of multi-label outputs there is one axis more, and
    the two classes of each label are "no" and "yes".

    Attributes:
        probs: mean of the passes' probabilities, the prediction.
        log_probs: their logarithm, exact where ``probs`` underflows.
        variance: of the probabilities over the passes (ddof 1).
        expected_entropy: mean entropy of a pass, the aleatoric part.
        variation_ratio: share of the passes that do not vote for the class with most votes.
        flip_rate: share of the passes that do not vote for the class of the deterministic network.
        deterministic_log_probs: log-probabilities of the network without dropout.
        num_samples: passes behind each example, at least.
        samples: probabilities of every pass, if they were asked for.
    """

    probs: Float[Array, "b k"]
    log_probs: Float[Array, "b k"]
    variance: Float[Array, "b k"]
    expected_entropy: Float[Array, " b"]
    variation_ratio: Float[Array, " b"]
    flip_rate: Float[Array, " b"]
    deterministic_log_probs: Float[Array, "b k"]
    num_samples: Int[Array, ""]
    samples: Float[Array, "s b k"] | None = None

    @property
    def deterministic_probs(self) -> Float[Array, "b k"]:
        """Probabilities of the network without dropout."""
        return jnp.exp(self.deterministic_log_probs)

    @property
    def entropy(self) -> Float[Array, " b"]:
        """Predictive entropy: that of the mean probabilities."""
        return entropy_of(self.probs)

    @property
    def mutual_information(self) -> Float[Array, " b"]:
        """Of the prediction and the mask (BALD, Houlsby et al. 2011): the epistemic part, never below 0."""
        return jnp.maximum(self.entropy - self.expected_entropy, 0)

    @property
    def predicted(self) -> Int[Array, " b"]:
        """The most probable class."""
        return self.probs.argmax(-1)

    @property
    def confidence(self) -> Float[Array, " b"]:
        """Its probability."""
        return self.probs.max(-1)

    @property
    def flipped(self) -> Bool[Array, " b"]:
        """Whether it is not the class of the deterministic network."""
        return self.predicted != self.deterministic_log_probs.argmax(-1)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class RegressionPrediction:
    """Numbers with their variances, in the units of the network's output and their squares.

    Attributes:
        mean: the prediction.
        epistemic: variance of the mean over the passes, scaled if it is calibrated.
        aleatoric: mean of the variances that a heteroscedastic head predicts; None without one.
        deterministic: what the network says without dropout.
        num_samples: passes behind each example, at least; 0 for the closed form.
        samples: the outputs of every pass, if they were asked for.
    """

    mean: Float[Array, "b d"]
    epistemic: Float[Array, "b d"]
    aleatoric: Float[Array, "b d"] | None
    deterministic: Float[Array, "b d"]
    num_samples: Int[Array, ""]
    samples: Float[Array, "s b d"] | None = None

    @property
    def variance(self) -> Float[Array, "b d"]:
        """Of the prediction: epistemic and aleatoric (the law of total variance)."""
        return self.epistemic if self.aleatoric is None else self.epistemic + self.aleatoric

    @property
    def std(self) -> Float[Array, "b d"]:
        """Standard deviation of the prediction."""
        return jnp.sqrt(self.variance)

    def interval(self, level: float = 0.9) -> tuple[Float[Array, "b d"], Float[Array, "b d"]]:
        """The central interval that a Gaussian of this mean and variance holds with a probability.

        Raises:
            ValueError: the level is not between 0 and 1.
        """
        if not 0 < level < 1:
            raise ValueError(f"the level of an interval lies between 0 and 1, got {level}")
        half = ndtri((1 + level) / 2) * self.std
        return self.mean - half, self.mean + half


Prediction = ClassificationPrediction | RegressionPrediction


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Moments:
    """Mean and variance over the passes (ddof 1) for each of several rates.

    Attributes:
        mean: of the output; of a heteroscedastic head, of its means.
        variance: of the same.
        aleatoric: mean of the predicted variances of a heteroscedastic head, else None.
        deterministic: what the network says without dropout.
    """

    mean: Float[Array, "r b ..."]
    variance: Float[Array, "r b ..."]
    aleatoric: Float[Array, "r b ..."] | None
    deterministic: Float[Array, "b ..."]


def entropy_of(probs: Float[Array, "*b k"]) -> Float[Array, "*b"]:
    """Shannon entropy in nats; 0 log 0 is 0."""
    return jax.scipy.special.entr(probs).sum(-1)
