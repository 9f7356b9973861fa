"""How uncertain each prediction is, in nats: of the mean probabilities, and of the samples they are the mean of.

Samples ``(s, ..., classes)`` are the probabilities of s passes; the results have the shape ``(...)``.
"""

import jax
import jax.numpy as jnp
from jax.scipy.special import entr
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from jaxvision.uncertainty.metrics.checks import distributions


def predictive_entropy(probs: Float[ArrayLike, "*b k"]) -> Float[Array, "*b"]:
    """The entropy of the (mean) probabilities, 0 to log k: the total uncertainty.

    Raises:
        ValueError: there is no axis of at least two classes.
    """
    return entr(distributions(probs)).sum(-1)


def expected_entropy(samples: Float[ArrayLike, "s *b k"]) -> Float[Array, "*b"]:
    """The mean entropy of the passes: the aleatoric part, on which the passes agree.

    Raises:
        ValueError: wrong rank.
    """
    return predictive_entropy(_passes(samples)).mean(0)


def mutual_information(samples: Float[ArrayLike, "s *b k"]) -> Float[Array, "*b"]:
    """What the passes disagree on, the epistemic part: predictive minus expected entropy (BALD, Houlsby et al. 2011).

    It cannot be negative, and is clipped at 0 against rounding.

    Raises:
        ValueError: wrong rank.
    """
    passes = _passes(samples)
    return jnp.maximum(predictive_entropy(passes.mean(0)) - expected_entropy(passes), 0)


def variation_ratio(samples: Float[ArrayLike, "s *b k"]) -> Float[Array, "*b"]:
    """One minus the share of passes that vote for the most voted class (Freeman 1965); 0 to 1 - 1 / k.

    Raises:
        ValueError: wrong rank.
    """
    passes = _passes(samples)
    votes = jax.nn.one_hot(passes.argmax(-1), passes.shape[-1], dtype=passes.dtype).mean(0)
    return 1 - votes.max(-1)


def _passes(samples: Float[ArrayLike, "s *b k"]) -> Float[Array, "s *b k"]:
    values = distributions(samples, "samples")
    if values.ndim < 3:
        raise ValueError(
            f"samples must have the shape (passes, ..., classes), got {values.shape}; "
            "probabilities that are already averaged have only a predictive entropy"
        )
    return values
