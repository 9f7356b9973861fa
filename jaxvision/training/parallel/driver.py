"""What every driver can do, and what they share."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding, Sharding

from jaxvision.training.leaves import is_key

State = TypeVar("State")
Step = Callable[..., Any]
Compiled = Callable[[Any, Any], Any]


class Driver(ABC):
    """Places states and batches on devices, and compiles steps for them.

    A state goes in by `place_state` (a new one) or by `abstract` and a checkpoint (a saved one), through the compiled
    step, and out by `canonical`.

    Attributes:
        name: ``"jit"``, ``"pmap"`` or ``"shard_map"``.
        devices: the devices of all processes.
        axis_name: the axis that a step's collectives run over; None where XLA adds them itself.
    """

    name: str
    axis_name: str | None = None

    def __init__(self, devices: Sequence[jax.Device]):
        self.devices = tuple(devices)

    @property
    def num_devices(self) -> int:
        """How many devices a batch is split over."""
        return len(self.devices)

    @abstractmethod
    def place_state(self, state: State) -> State:
        """A state on the devices, for `compile_train`'s step, which will consume it.

        Arrays are copied, except those that a driver of the same devices has placed (a restored state's, say).
        """

    @abstractmethod
    def place_batch(self, batch: Mapping[str, np.ndarray], accum: bool = False) -> dict[str, jax.Array]:
        """The global batch on the devices, from this process's rows of it.

        Args:
            batch: numpy arrays (b, ...); every process gives equally many rows.
            accum: arrays are (accum_steps, b, ...), microbatches first.

        Raises:
            ValueError: the batch of all processes cannot be split evenly over the devices.
        """

    @abstractmethod
    def compile_train(self, step: Step) -> Compiled:
        """``step(state, batch, axis_name=None) -> (state, metrics)``, compiled at its first call.

        The state given is consumed: its memory becomes the new one's. Metrics must be global already.
        """

    @abstractmethod
    def compile_eval(self, step: Step) -> Compiled:
        """``step(variables, batch, axis_name=None) -> outputs``, compiled at its first call.

        Scalars of the outputs must be global already; everything else is rows of the batch, and comes back whole.
        """

    def canonical(self, state: State) -> State:
        """The state as one copy, without an axis of devices: what is checkpointed."""
        return state

    @abstractmethod
    def abstract(self, state: State) -> State:
        """`jax.ShapeDtypeStruct`s of the canonical state with their shardings: what a checkpoint is restored to.

        Args:
            state: a state, on the devices or not, or an abstract one. `place_state` comes after restoring, too.
        """

    def to_host(self, tree: Any) -> Any:
        """Outputs as numpy arrays, whole, on every process."""
        return jax.device_get(jax.tree.map(_local, tree))

    def _check_rows(self, batch: Mapping[str, np.ndarray], accum: bool) -> None:
        rows = {name: np.shape(array)[1 if accum else 0] for name, array in batch.items()}
        if len(set(rows.values())) > 1:
            raise ValueError(f"the arrays of a batch have different numbers of examples: {rows}")
        total = next(iter(rows.values())) * jax.process_count()
        if total % self.num_devices:
            below = total - total % self.num_devices
            nearest = f"{below} or {below + self.num_devices}" if below else f"{self.num_devices}"
            raise ValueError(
                f"a {'micro' if accum else ''}batch of {total} examples cannot be split over {self.num_devices} "
                f"devices: make it {nearest}"
            )


def put(leaf: Any, sharding: Sharding) -> jax.Array:
    """A global array of a value that every process has.

    It goes through the host, since `jax.device_put` would share the leaf's memory, whatever ``may_alias`` says, and the
    leaf would be gone with the first donated step. Memory shared with numpy is never written to.
    """
    if is_key(leaf):
        return jax.random.wrap_key_data(put(jax.random.key_data(leaf), sharding), impl=jax.random.key_impl(leaf))
    value = np.asarray(leaf)
    return jax.make_array_from_callback(value.shape, sharding, lambda index: value[index])


def struct(leaf: Any, sharding: Sharding) -> jax.ShapeDtypeStruct:
    """The abstract form of a leaf, for restoring."""
    leaf = leaf if hasattr(leaf, "dtype") else np.asarray(leaf)
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)


def put_batch(batch: Mapping[str, np.ndarray], sharding: NamedSharding) -> dict[str, jax.Array]:
    """A global batch from this process's rows."""
    return {name: jax.make_array_from_process_local_data(sharding, array) for name, array in batch.items()}


def _local(array: Any) -> Any:
    if not isinstance(array, jax.Array) or array.is_fully_addressable:
        return array
    if array.is_fully_replicated:
        return array.addressable_data(0)
    return multihost_utils.process_allgather(array, tiled=True)
