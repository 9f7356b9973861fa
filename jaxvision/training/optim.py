"""Optimisers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import optax
from jaxtyping import Array, Float32, Int32

Schedule = Callable[[Int32[Array, ""]], Float32[Array, ""]]


@dataclass(frozen=True)
class Optimizer:
    """An optax transformation without a learning rate, and the learning rate, which is applied in one place.

    Attributes:
        tx: gradients to directions; it decides about weight decay and clipping, too.
        schedule: learning rate as a function of the number of updates done.
        lr_mult: multipliers of the learning rate, a tree of floats like the parameters; None for 1 everywhere.
    """

    tx: optax.GradientTransformation
    schedule: Schedule
    lr_mult: Any = None

    def init(self, params: Any) -> Any:
        """The state for these parameters."""
        return self.tx.init(params)

    def update(
        self, grads: Any, opt_state: Any, params: Any, step: Int32[Array, ""], lr_scale: Float32[Array, ""]
    ) -> tuple[Any, Any, Float32[Array, ""]]:
        """``-lr * lr_mult * direction``, to be added to the parameters.

        Args:
            grads: gradients, like ``params``.
            opt_state: from `init` or the last update.
            params: the parameters as they are.
            step: updates done so far.
            lr_scale: multiplies the schedule.

        Returns:
            updates, the optimiser's new state, and ``lr = schedule(step) * lr_scale``.
        """
        directions, opt_state = self.tx.update(grads, opt_state, params)
        lr = jax.numpy.asarray(self.schedule(step), jax.numpy.float32) * lr_scale
        if self.lr_mult is None:
            return jax.tree.map(lambda d: (-lr * d).astype(d.dtype), directions), opt_state, lr
        updates = jax.tree.map(lambda d, mult: (-lr * mult * d).astype(d.dtype), directions, self.lr_mult)
        return updates, opt_state, lr
