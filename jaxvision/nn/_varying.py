"""What functions with gradients of their own need inside `jax.shard_map`."""

import jax
from jaxtyping import Array


def vary_alike(*arrays: Array) -> tuple[Array, ...]:
    """The arrays, all varying over the mapped axes that any of them varies over.

    JAX's own operations see to it by themselves; `jax.custom_vjp` does not, and refuses the gradient of parameters
    that are the same on all devices. The cast's own gradient is the sum over the devices.
    """
    over = [jax.typeof(array).manual_axis_type.varying for array in arrays]
    every = frozenset[str]().union(*over)
    return tuple(
        array if axes == every else jax.lax.pcast(array, tuple(every - axes), to="varying")
        for array, axes in zip(arrays, over, strict=True)
    )
