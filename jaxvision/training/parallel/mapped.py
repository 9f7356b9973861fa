"""The drivers that map a step over one axis: the step's own collectives do the rest."""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jaxvision.training.leaves import is_key
from jaxvision.training.parallel.driver import Compiled, Driver, State, Step, put, put_batch, struct

AXIS = "data"


class _MappedDriver(Driver):
    axis_name: str | None = AXIS

    def __init__(self, devices: Sequence[jax.Device]):
        super().__init__(devices)
        # Positional: the parameter has another name in later versions.
        self.mesh = jax.make_mesh((len(devices),), (AXIS,), axis_types=(AxisType.Auto,), devices=devices)
        self._replicated = NamedSharding(self.mesh, PartitionSpec())
        self._rows = NamedSharding(self.mesh, PartitionSpec(AXIS))
        self._microbatches = NamedSharding(self.mesh, PartitionSpec(None, AXIS))

    def compile_train(self, step: Step) -> Compiled:
        """See `Driver.compile_train`."""
        return _at_first_call(partial(self._map_train, partial(step, axis_name=AXIS)))

    def compile_eval(self, step: Step) -> Compiled:
        """See `Driver.compile_eval`."""

        def make(variables: Any, batch: Any) -> Compiled:
            outputs = jax.eval_shape(step, self.abstract(variables), self.abstract(batch))
            is_rows = jax.tree.map(lambda output: output.ndim > 0, outputs)
            return self._map_eval(partial(step, axis_name=AXIS), is_rows)

        return _at_first_call(make)

    @abstractmethod
    def _map_train(self, step: Step, state: Any, batch: Any) -> Compiled: ...

    @abstractmethod
    def _map_eval(self, step: Step, is_rows: Any) -> Compiled: ...

    def abstract(self, state: State) -> State:
        """See `Driver.abstract`."""
        return jax.tree.map(lambda leaf: struct(leaf, self._replicated), state)


class ShardMapDriver(_MappedDriver):
    """`jax.shard_map` under `jax.jit`, on any number of hosts; the state is replicated.

    The step must sum its gradients over the axis itself, as `make_train_step`'s does, and return the same state on
    every device. JAX could check that (``check_vma``), but its 0.12 then cannot differentiate ``erf``, and so no exact
    GELU.
    """

    name = "shard_map"

    def place_state(self, state: State) -> State:
        """See `Driver.place_state`."""

        def place(leaf: Any) -> jax.Array:
            return leaf if getattr(leaf, "sharding", None) == self._replicated else put(leaf, self._replicated)

        return jax.tree.map(place, state)

    def place_batch(self, batch: Mapping[str, np.ndarray], accum: bool = False) -> dict[str, jax.Array]:
        """See `Driver.place_batch`."""
        self._check_rows(batch, accum)
        return put_batch(batch, self._microbatches if accum else self._rows)

    def _map_train(self, step: Step, state: Any, batch: Any) -> Compiled:
        everywhere, rows = PartitionSpec(), jax.tree.map(lambda array: array.sharding.spec, batch)
        return jax.jit(self._mapped(step, rows, everywhere), donate_argnums=0)

    def _map_eval(self, step: Step, is_rows: Any) -> Compiled:
        everywhere, rows = PartitionSpec(), PartitionSpec(AXIS)
        outputs = jax.tree.map(lambda split: rows if split else everywhere, is_rows)
        return jax.jit(self._mapped(step, rows, outputs))

    def _mapped(self, step: Step, rows: Any, outputs: Any) -> Compiled:
        specs = (PartitionSpec(), rows)
        return jax.shard_map(step, mesh=self.mesh, in_specs=specs, out_specs=outputs, check_vma=False)


class PmapDriver(_MappedDriver):
    """`jax.pmap` on one host: the state has a leading axis, one copy for each device."""

    name = "pmap"

    def __init__(self, devices: Sequence[jax.Device]):
        super().__init__(devices)
        self._first = jax.jit(lambda state: jax.tree.map(lambda leaf: leaf[0], state))

    def place_state(self, state: State) -> State:
        """See `Driver.place_state`."""

        def copies(leaf: Any) -> Any:
            return np.broadcast_to(leaf, (self.num_devices, *np.shape(leaf)))

        def place(leaf: Any) -> jax.Array:
            if self._is_placed(leaf):
                return leaf
            if is_key(leaf):
                words = put(copies(jax.random.key_data(leaf)), self._rows)
                return jax.random.wrap_key_data(words, impl=jax.random.key_impl(leaf))
            return put(copies(leaf), self._rows)

        return jax.tree.map(place, state)

    def place_batch(self, batch: Mapping[str, np.ndarray], accum: bool = False) -> dict[str, jax.Array]:
        """See `Driver.place_batch`; arrays get a leading axis, one part for each device."""
        self._check_rows(batch, accum)
        return put_batch({name: self._parts(np.asarray(array), accum) for name, array in batch.items()}, self._rows)

    def canonical(self, state: State) -> State:
        """See `Driver.canonical`: the first device's copy."""
        return self._first(jax.tree.map(lambda leaf: leaf.addressable_shards[0].data, state))

    def abstract(self, state: State) -> State:
        """See `Driver.abstract`."""

        def one(leaf: Any) -> Any:
            return jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype) if self._is_placed(leaf) else leaf

        return super().abstract(jax.tree.map(one, state))

    def _map_train(self, step: Step, state: Any, batch: Any) -> Compiled:
        return jax.pmap(step, AXIS, devices=self.devices, out_axes=(0, None), donate_argnums=0)

    def _map_eval(self, step: Step, is_rows: Any) -> Compiled:
        outputs = jax.tree.map(lambda split: 0 if split else None, is_rows)
        mapped = jax.pmap(step, AXIS, devices=self.devices, out_axes=outputs)

        def run(variables: Any, batch: Any) -> Any:
            parts = mapped(variables, batch)
            return jax.tree.map(lambda x, split: x.reshape(-1, *x.shape[2:]) if split else x, parts, is_rows)

        return run

    def _is_placed(self, leaf: Any) -> bool:
        return getattr(leaf, "sharding", None) == self._rows

    def _parts(self, array: np.ndarray, accum: bool) -> np.ndarray:
        if not accum:
            return array.reshape(self.num_devices, -1, *array.shape[1:])
        return array.reshape(len(array), self.num_devices, -1, *array.shape[2:]).swapaxes(0, 1)


def _at_first_call(make: Callable[[Any, Any], Compiled]) -> Compiled:
    """A function that is made when its first arguments are known."""
    made: Compiled | None = None

    def run(state: Any, batch: Any) -> Any:
        nonlocal made
        if made is None:
            made = make(state, batch)
        return made(state, batch)

    return run
