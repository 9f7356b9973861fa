"""Which axis of which parameter goes over which axis of the mesh: rules outside the model."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxvision.paths import matches, select
from jaxvision.training.leaves import named_leaves

Rules = Mapping[str, PartitionSpec]

MIN_SHARDED_SIZE = 2**16
"""Parameters with fewer elements are replicated: gathering them would cost more than they take."""

_PARAMETERS = ("params.", "frozen.")


def state_shardings(state: Any, mesh: Mesh, rules: Rules | None = None) -> Any:
    """A sharding for every leaf of a state, as a tree like it.

    A parameter goes by the first rule whose pattern matches its name, or else by `fsdp_spec`. What mirrors a parameter
    (its moments, its average: a leaf whose name ends in the parameter's and whose shape is the same) goes with it;
    everything else is replicated.

    Args:
        state: a `TrainState`, concrete or abstract: parameters are below ``params`` and ``frozen``.
        mesh: with the axes that the rules name.
        rules: patterns of `jaxvision.paths` on timm's names (``blocks.*.mlp.fc1.kernel``) to specs, first match first.

    Raises:
        PatternError: a rule matches no parameter.
        ValueError: a rule names an axis the mesh has not, or does not fit the shape of a parameter it matches.
    """
    leaves = named_leaves(state)
    shapes = {
        name.removeprefix(prefix): np.shape(leaf)
        for name, leaf in leaves.items()
        for prefix in _PARAMETERS
        if name.startswith(prefix)
    }
    for pattern in rules or {}:
        select(pattern, shapes, what="parameter")
    specs = {name: _spec(name, shape, mesh, rules or {}) for name, shape in shapes.items()}
    shardings = [NamedSharding(mesh, _mirrored(name, np.shape(leaf), shapes, specs)) for name, leaf in leaves.items()]
    return jax.tree.unflatten(jax.tree.structure(state), shardings)


def fsdp_spec(shape: tuple[int, ...], fsdp: int) -> PartitionSpec:
    """Shards the largest axis that ``fsdp`` divides (the first of equals); small arrays, and others, are replicated."""
    divisible = [axis for axis, size in enumerate(shape) if size % fsdp == 0]
    if fsdp == 1 or int(np.prod(shape)) < MIN_SHARDED_SIZE or not divisible:
        return PartitionSpec()
    largest = max(divisible, key=lambda axis: (shape[axis], -axis))
    return PartitionSpec(*[None] * largest, "fsdp")


def _spec(name: str, shape: tuple[int, ...], mesh: Mesh, rules: Rules) -> PartitionSpec:
    for pattern, spec in rules.items():
        if matches(pattern, name):
            _check_fits(pattern, spec, name, shape, mesh)
            return spec
    return fsdp_spec(shape, mesh.shape.get("fsdp", 1))


def _check_fits(pattern: str, spec: PartitionSpec, name: str, shape: tuple[int, ...], mesh: Mesh) -> None:
    rule = f"the rule {pattern!r}: {spec}"
    if len(spec) > len(shape):
        raise ValueError(f"{rule} has {len(spec)} axes, but {name} has the shape {shape}")
    for size, axes in zip(shape, spec, strict=False):
        names = () if axes is None else axes if isinstance(axes, tuple) else (axes,)
        unknown = [axis for axis in names if axis not in mesh.shape]
        if unknown:
            raise ValueError(f"{rule} names the axis {unknown[0]!r}; the mesh has {', '.join(mesh.shape)}")
        parts = int(np.prod([mesh.shape[axis] for axis in names]))
        if size % parts:
            raise ValueError(f"{rule} splits {name} of shape {shape} into {parts} along the axis of {size}")


def _mirrored(
    name: str, shape: tuple[int, ...], shapes: Mapping[str, tuple[int, ...]], specs: Mapping[str, PartitionSpec]
) -> PartitionSpec:
    parts = name.split(".")
    for start in range(1, len(parts)):
        tail = ".".join(parts[start:])
        if shapes.get(tail) == shape:
            return specs[tail]
    return PartitionSpec()
