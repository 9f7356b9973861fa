"""A stack of blocks that run one after the other: the one place where they are unrolled, rematerialised or scanned."""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxvision.interception import is_hooked, keeps_values
from jaxvision.nn._barrier import computed_once
from jaxvision.nn.drop import DropSite, Rngs, site_keys
from jaxvision.paths import named_modules, named_variables, path_hash, suggestion

_POLICIES: dict[str, Callable[..., Any] | None] = {
    "full": None,
    "dots": jax.checkpoint_policies.dots_saveable,
    "dots_with_no_batch_dims": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
}


class Stack(nnx.List):
    """Blocks ``block(x, train=..., rngs=...) -> x``, named ``0``, ``1``, ... as timm's ``Sequential`` names them.

    How they run is a matter of time and memory and changes neither the result nor any parameter:

    Args:
        blocks: the blocks.
        remat: recompute in the backward pass instead of storing: ``"full"`` stores only what enters each block,
            ``"dots"`` also the results of matrix products, ``"dots_with_no_batch_dims"`` only those without a batch
            axis.
        scan: compile one block for all that follow one another and are alike but for their arrays, drop rates and the
            numbers that a module names in ``per_block`` (such as `jaxvision.nn.DiffAttention`), or one pair of blocks
            where pairs are, and loop over it: benchmarks/compile.py measures it. Other blocks,
            such as the first of a ResNet's stage, run by themselves, as do hooked ones (see `jaxvision.intercept`).
            Parameters stay separate and are stacked inside the compiled function, at the cost of one transient copy;
            `jaxvision.nn.stack_blocks` stacks them outside.

    Raises:
        ValueError: an unknown ``remat``.
    """

    def __init__(self, blocks: Iterable[nnx.Module], *, remat: str | None = None, scan: bool = False):
        super().__init__(blocks)
        if remat is not None and remat not in _POLICIES:
            raise ValueError(f"unknown remat {remat!r}{suggestion(remat, _POLICIES)}; there are {sorted(_POLICIES)}")
        self.remat = remat
        self.scan = scan

    def __call__(self, x: Float[Array, "b ..."], train: bool = False, rngs: Rngs = None) -> Float[Array, "b ..."]:
        """Runs the blocks in order."""
        rngs = site_keys(rngs)
        if not self.scan or is_hooked(self):
            *_, last = (x, *self.outputs(x, train, rngs))
            return last
        for first, period, repeats in self._runs():
            if repeats > 1:
                x = self._scanned((first, period, repeats), x, train, rngs)
            else:
                x = self._single(self[first], x, train, rngs)
        return x

    def outputs(self, x: Float[Array, "b ..."], train: bool = False, rngs: Rngs = None) -> Iterator[Array]:
        """What each block gives, one after the other; never scanned."""
        rngs = site_keys(rngs)
        for block in self:
            x = self._single(block, x, train, rngs)
            yield x

    def _single(self, block: nnx.Module, x: Array, train: bool, rngs: Rngs) -> Array:
        plain = self.remat is None or keeps_values(block)
        return computed_once(block(x, train=train, rngs=rngs) if plain else self._checkpointed(block, x, train, rngs))

    def _checkpoint(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return function if self.remat is None else jax.checkpoint(function, policy=_POLICIES[self.remat])

    def _checkpointed(self, block: nnx.Module, x: Array, train: bool, rngs: Rngs) -> Array:
        graphdef, state = nnx.split(block, graph=True)

        def run(state: Any, x: Array) -> tuple[Array, Any]:
            copy = nnx.merge(graphdef, state, copy=True)
            x = copy(x, train=train, rngs=rngs)
            return x, nnx.to_pure_dict(nnx.state(copy, nnx.BatchStat, graph=True))

        x, stats = self._checkpoint(run)(nnx.to_pure_dict(state), x)
        if train:
            nnx.update(block, stats)
        return x

    def _runs(self) -> list[tuple[int, int, int]]:
        """The blocks in order as (first, period, repeats); a scan is where repeats is more than 1.

        Swin shifts the windows of every other block, so that two blocks may be what repeats.
        """
        alike = [_signature(block) for block in self]
        runs, first = [], 0
        while first < len(alike):
            period, repeats = max(
                ((period, _repeats(alike, first, period)) for period in (1, 2)), key=lambda run: run[0] * (run[1] - 1)
            )
            runs.append((first, period, repeats) if repeats > 1 else (first, 1, 1))
            first += period * repeats if repeats > 1 else 1
        return runs

    def _scanned(self, run: tuple[int, int, int], x: Array, train: bool, rngs: Rngs) -> Array:
        first, period, repeats = run
        columns = [
            _Column([(index, self[index]) for index in range(first + offset, first + period * repeats, period)])
            for offset in range(period)
        ]

        def step(x: Array, layers: list[tuple[Any, Any]]) -> tuple[Array, list[dict[str, Array]]]:
            stats = []
            for column, layer in zip(columns, layers, strict=True):
                x, new = self._checkpoint(functools.partial(column.run, train=train, rngs=rngs))(layer, x)
                stats.append(new)
            return x, stats

        x, stats = jax.lax.scan(step, x, [column.layers for column in columns])
        if train:
            for column, values in zip(columns, stats, strict=True):
                column.update(values)
        return x


class _Column:
    """Blocks that differ only in their arrays, drop rates and numbers, as one block and what differs, stacked."""

    def __init__(self, blocks: Sequence[tuple[int, nnx.Module]]):
        self.blocks = [block for _, block in blocks]
        self.graphdef, state = nnx.split(_without_settings(self.blocks[0]), graph=True)
        self.template = nnx.to_pure_dict(state)
        arrays = _stacked({n: v.get_value() for n, v in named_variables(block).items()} for block in self.blocks)
        numbers = _stacked(_numbers(block) for block in self.blocks)
        self.layers = arrays, (_drop_settings(blocks), numbers)

    def run(self, layer: tuple[Any, Any], x: Array, *, train: bool, rngs: Rngs) -> tuple[Array, dict[str, Array]]:
        """One block with one layer's arrays, rates, paths and numbers; its new batch statistics beside the result."""
        values, (settings, numbers) = layer
        block = nnx.merge(self.graphdef, self.template, copy=True)
        variables = named_variables(block)
        for name, value in values.items():
            variables[name].set_value(value)
        for path, site in _drop_sites(block).items():
            if path in settings:
                site.rate, site.path_hash = settings[path]
        modules = named_modules(block)
        for where, number in numbers.items():
            path, _, name = where.rpartition(".")
            setattr(modules[path], name, number)
        x = block(x, train=train, rngs=rngs)
        return x, {n: v.get_value() for n, v in variables.items() if isinstance(v, nnx.BatchStat)}

    def update(self, stats: Mapping[str, Array]) -> None:
        """Gives every block its batch statistics."""
        for index, block in enumerate(self.blocks):
            variables = named_variables(block)
            for name, values in stats.items():
                variables[name].set_value(values[index])


def _drop_settings(blocks: Sequence[tuple[int, nnx.Module]]) -> dict[str, tuple[Array, Array]]:
    """Rates and path hashes, (repeats,) each, of every site that drops anything in any block."""
    settings = {}
    for path in _drop_sites(blocks[0][1]):
        sites = [(index, _drop_sites(block)[path]) for index, block in blocks]
        if all(isinstance(site.rate, int | float) and site.rate == 0 for _, site in sites):
            continue
        hashes = [path_hash(f"{i}.{path}") if site.path_hash is None else site.path_hash for i, site in sites]
        rates = jnp.stack([jnp.asarray(site.rate, jnp.float32) for _, site in sites])
        settings[path] = rates, jnp.asarray(hashes, jnp.uint32)
    return settings


def _signature(block: nnx.Module) -> tuple[Any, Any]:
    """What blocks have in common that one compiled block can stand for."""
    graphdef, _ = nnx.split(_without_settings(block), graph=True)
    shapes = {n: (v.get_value().shape, v.get_value().dtype) for n, v in named_variables(block).items()}
    return graphdef, shapes


def _without_settings(block: nnx.Module) -> nnx.Module:
    copy = nnx.clone(block, variables=False, graph=True)
    for site in _drop_sites(copy).values():
        site.rate, site.path_hash = 0.0, None
    for module in named_modules(copy).values():
        for name in getattr(module, "per_block", ()):
            setattr(module, name, 0.0)
    return copy


def _numbers(block: nnx.Module) -> dict[str, Any]:
    """Attributes by path that may differ from block to block."""
    return {
        f"{path}.{name}": getattr(module, name)
        for path, module in named_modules(block).items()
        for name in getattr(module, "per_block", ())
    }


def _repeats(alike: Sequence[Any], first: int, period: int) -> int:
    """How often the blocks from ``first`` to ``first + period`` follow one another; 1 for once."""
    last = first + period
    while last + period <= len(alike) and alike[last : last + period] == alike[first : first + period]:
        last += period
    return max(1, (last - first) // period)


def _drop_sites(block: nnx.Module) -> dict[str, DropSite]:
    return {path: module for path, module in named_modules(block).items() if isinstance(module, DropSite)}


def _stacked(trees: Iterable[dict[str, Any]]) -> dict[str, Array]:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)
