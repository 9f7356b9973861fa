"""The state of a training run: one pytree of arrays, which is all that a checkpoint needs to hold."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float32, Int32

Tree = dict[str, Any]


class HasInit(Protocol):
    """An optimiser, as far as a new state is concerned."""

    def init(self, params: Tree) -> Any:
        """The state of the optimiser for these parameters."""
        ...


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TrainState:
    """What a step takes and gives back.

    Attributes:
        step: updates of the optimiser that were done; a skipped one does not count.
        params: the parameters that are trained, nested dicts by timm's names.
        frozen: those that are not; no name is in both.
        batch_stats: running statistics of batch normalisation.
        opt_state: the optimiser's, for ``params`` only.
        ema: ``{"params": ..., "batch_stats": ...}``, moving averages of the trained parameters and the statistics; None
            without.
        key: typed key of the run. Step i draws from ``fold_in(key, i)``, so that the key itself never changes.
        lr_scale: multiplies the learning rate; 1 unless the host lowers it (the plateau schedule).
        skipped: updates skipped in a row because the loss or the gradient was not finite; 0 after a good one.
    """

    step: Int32[Array, ""]
    params: Tree
    frozen: Tree
    batch_stats: Tree
    opt_state: Any
    ema: Tree | None
    key: jax.Array
    lr_scale: Float32[Array, ""]
    skipped: Int32[Array, ""]

    @classmethod
    def create(
        cls, params: Tree, frozen: Tree, batch_stats: Tree, optimizer: HasInit, key: jax.Array, ema: bool = False
    ) -> "TrainState":
        """A state before its first step.

        The arrays are copied: a step donates its state, and must not take the model's own arrays with it.

        Args:
            params: the parameters to train (see `jaxvision.training.freeze.split_params`).
            frozen: the others, ``{}`` if there are none.
            batch_stats: ``variables["batch_stats"]`` of `jaxvision.to_functional`.
            optimizer: its ``init`` makes ``opt_state``.
            key: a typed key, `jax.random.key`.
            ema: whether to keep moving averages; they start at the values given.

        Raises:
            ValueError: a name is in both ``params`` and ``frozen``.
            TypeError: ``key`` is an array of an old-style key.
        """
        if not jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
            raise TypeError(f"key must be a typed key from jax.random.key, got an array of {key.dtype}")
        merged(params, frozen)
        return cls(
            step=jnp.zeros((), jnp.int32),
            params=_copy(params),
            frozen=_copy(frozen),
            batch_stats=_copy(batch_stats),
            opt_state=optimizer.init(params),
            ema={"params": _copy(params), "batch_stats": _copy(batch_stats)} if ema else None,
            key=jnp.copy(key),
            lr_scale=jnp.ones((), jnp.float32),
            skipped=jnp.zeros((), jnp.int32),
        )

    def variables(self, ema: bool = False) -> dict[str, Tree]:
        """What `jaxvision.to_functional`'s ``apply`` takes: all parameters, trained or not, and the statistics.

        Args:
            ema: the averaged values in place of the current ones.

        Raises:
            ValueError: ``ema`` of a state that keeps no averages.
        """
        if not ema:
            return {"params": merged(self.params, self.frozen), "batch_stats": self.batch_stats}
        if self.ema is None:
            raise ValueError("this state keeps no moving averages: create it with ema=True")
        return {"params": merged(self.ema["params"], self.frozen), "batch_stats": self.ema["batch_stats"]}


def merged(first: Mapping[str, Any], second: Mapping[str, Any]) -> Tree:
    """The leaves of two nested dicts in one.

    Raises:
        ValueError: a leaf is in both, or is a leaf in one and a dict in the other.
    """
    return _merged(first, second, ())


def _merged(first: Mapping[str, Any], second: Mapping[str, Any], path: tuple[str, ...]) -> Tree:
    result = dict(first)
    for name, value in second.items():
        if name not in result:
            result[name] = value
        elif isinstance(value, Mapping) and isinstance(result[name], Mapping):
            result[name] = _merged(result[name], value, (*path, name))
        else:
            raise ValueError(f"both trained and frozen: {'.'.join((*path, name))}")
    return result


def _copy(tree: Tree) -> Tree:
    return jax.tree.map(jnp.copy, tree)
