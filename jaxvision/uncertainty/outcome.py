"""From the statistics of the passes to what users are told."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxvision.uncertainty.results import ClassificationPrediction, RegressionPrediction
from jaxvision.uncertainty.sample import Sampled
from jaxvision.uncertainty.statistics import log_probabilities, values_and_noise


def classification_prediction(task: str, done: Sampled, temperature: Float[Array, ""]) -> ClassificationPrediction:
    """Of logits at the first rate."""
    results = {name: value[0] for name, value in done.results.items()}
    votes = results.pop("votes")
    plain = log_probabilities(task, done.deterministic, temperature)
    own = jnp.take_along_axis(votes, plain.argmax(-1)[..., None], axis=-1)[..., 0]
    samples = None if done.outputs is None else jnp.exp(log_probabilities(task, done.outputs[0], temperature))
    return ClassificationPrediction(
        **results,
        variation_ratio=1 - votes.max(-1),
        flip_rate=1 - own,
        deterministic_log_probs=plain,
        num_samples=done.count,
        samples=samples,
    )


def regression_prediction(task: str, done: Sampled) -> RegressionPrediction:
    """Of numbers at the first rate."""
    results = {name: value[0] for name, value in done.results.items()}
    plain, _ = values_and_noise(task, done.deterministic)
    samples = None if done.outputs is None else values_and_noise(task, done.outputs[0])[0]
    return RegressionPrediction(
        results["mean"], results["variance"], results.get("aleatoric"), plain, done.count, samples
    )
