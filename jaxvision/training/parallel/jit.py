"""The default driver: `jax.jit`, and shardings from which XLA works out the rest."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jaxvision.training.parallel.driver import Compiled, Driver, State, Step, put, put_batch, struct
from jaxvision.training.parallel.placement import Rules, state_shardings


class JitDriver(Driver):
    """Batches split over all devices; parameters replicated, or sharded over groups of ``fsdp`` devices.

    With ``fsdp`` > 1 (fully sharded data parallelism: Rajbhandari et al. 2020, ZeRO, stage 3) a parameter, its moments
    and its average live on ``fsdp`` devices in equal parts and are gathered where they are used. Randomness is that of
    one device: masks do not depend on the number of devices.
    """

    name = "jit"

    def __init__(self, devices: Sequence[jax.Device], fsdp: int = 1, rules: Rules | None = None):
        super().__init__(devices)
        shape, axes = ((len(devices),), ("data",)) if fsdp == 1 else ((len(devices) // fsdp, fsdp), ("data", "fsdp"))
        # Positional: the parameter has another name in later versions. Auto: the default would make sharding a type.
        self.mesh = jax.make_mesh(shape, axes, axis_types=(AxisType.Auto,) * len(axes), devices=devices)
        self._rules = rules
        self._replicated = NamedSharding(self.mesh, PartitionSpec())
        self._rows = NamedSharding(self.mesh, PartitionSpec(axes))
        self._microbatches = NamedSharding(self.mesh, PartitionSpec(None, axes))

    def place_state(self, state: State) -> State:
        """See `Driver.place_state`."""

        def place(leaf: Any, sharding: NamedSharding) -> jax.Array:
            return leaf if getattr(leaf, "sharding", None) == sharding else put(leaf, sharding)

        return jax.tree.map(place, state, state_shardings(state, self.mesh, self._rules))

    def place_batch(self, batch: Mapping[str, np.ndarray], accum: bool = False) -> dict[str, jax.Array]:
        """See `Driver.place_batch`."""
        self._check_rows(batch, accum)
        return put_batch(batch, self._microbatches if accum else self._rows)

    def compile_train(self, step: Step) -> Compiled:
        """See `Driver.compile_train`."""
        compiled: Compiled | None = None

        def run(state: Any, batch: Any) -> Any:
            nonlocal compiled
            if compiled is None:
                # Without these XLA may choose another placement for the new state, and compile again for it.
                shardings = jax.tree.map(lambda leaf: leaf.sharding, state)
                compiled = jax.jit(step, donate_argnums=0, out_shardings=(shardings, self._replicated))
            return compiled(state, batch)

        return run

    def compile_eval(self, step: Step) -> Compiled:
        """See `Driver.compile_eval`."""
        return jax.jit(step)

    def abstract(self, state: State) -> State:
        """See `Driver.abstract`."""
        return jax.tree.map(struct, state, state_shardings(state, self.mesh, self._rules))
