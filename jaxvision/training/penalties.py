"""Penalties on the size of parameters, added to the loss."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float32

from jaxvision.paths import flatten
from jaxvision.training.groups import matching


def make_penalty(
    params: Mapping[str, Any], *, l1: float = 0.0, l2: float = 0.0, patterns: str | Sequence[str] = "**.kernel"
) -> Callable[[Mapping[str, Any]], Float32[Array, ""]] | None:
    """``l1 * sum |w| + l2 * sum w^2`` over the parameters that patterns select; None if both coefficients are 0.

    Args:
        params: the parameters to train, arrays or their shapes.
        l1: coefficient of the absolute values.
        l2: coefficient of the squares. For plain sgd ``l2`` is half of a weight decay.
        patterns: see `groups.matching`; by default the kernels.

    Raises:
        ValueError: a coefficient is negative.
        PatternError: a pattern selects no parameter.
    """
    if l1 < 0 or l2 < 0:
        raise ValueError(f"penalties must be at least 0, got l1={l1} and l2={l2}")
    if not l1 and not l2:
        return None
    names = sorted(matching(patterns, flatten(params)))

    def penalty(params: Mapping[str, Any]) -> Float32[Array, ""]:
        flat = flatten(params)
        total = jnp.zeros((), jnp.float32)
        for name in names:
            weights = flat[name].astype(jnp.float32)
            if l1:
                total += l1 * jnp.sum(jnp.abs(weights))
            if l2:
                total += l2 * jnp.sum(jnp.square(weights))
        return total

    return penalty
