"""Moving averages of parameters and statistics over the updates of a run (Polyak and Juditsky 1992)."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float32, Int32


def ema_decay(step: Int32[Array, ""], decay: float, warmup: bool) -> Float32[Array, ""] | float:
    """The share of the averages that an update keeps.

    Args:
        step: updates done, this one included.
        decay: the share in the long run, such as 0.9998.
        warmup: start at 0 and rise as ``1 - step ** (-2/3)`` up to ``decay``: timm's ``--model-ema-warmup``, so that
            the averages forget the initial values soon.
    """
    return jnp.minimum(decay, 1 - step.astype(jnp.float32) ** (-2 / 3)) if warmup else decay


def move_averages(averages: Any, values: Any, decay: Float32[Array, ""] | float) -> Any:
    """``decay * averages + (1 - decay) * values``, leaf by leaf, each in its own dtype."""
    return jax.tree.map(lambda old, new: (old + (1 - decay) * (new - old)).astype(old.dtype), averages, values)
