"""Many random passes: a prefix once, then chunks of samples of the rest, and statistics that are updated on the way.

Examples are divided first, into chunks for which the prefix is computed once; samples are divided only where one chunk
of examples times all samples would not fit the memory budget. The result does not depend on the division, but for the
rounding of sums.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from jaxvision.uncertainty.cut import Cut, cut, enters_loop
from jaxvision.uncertainty.draw import Masks, Outputs, SiteError, Visit, draw_masks, masked_pass, visited
from jaxvision.uncertainty.plan import SiteSpec
from jaxvision.uncertainty.statistics import Statistic

Chunk = Literal["auto"] | tuple[int, int]
_BUDGET = {"cpu": 16 * 2**20}  # bytes: on a CPU what stays near its caches is faster than what merely fits
_BUDGET_ELSEWHERE = 2**30
_FEWEST_EXAMPLES = 8  # fewer at a time would starve the prefix
_FEWEST_SAMPLES = 16  # before a standard error is believed


@dataclass(frozen=True)
class Sampling:
    """How passes are made. Static: it is part of what a compiled function is compiled for.

    Attributes:
        num_samples: passes.
        chunk: examples and samples at a time, or ``"auto"`` for what fits the budget.
        budget: bytes of intermediate values of the chunk; None for a choice by platform.
        tolerance: stop when the largest standard error of any example in the chunk is at most this; None for never.
        keep: also return every pass's outputs.
        sharding: of the axis of samples, over devices.
        whole: do not divide the examples.
    """

    num_samples: int
    chunk: Chunk = "auto"
    budget: int | None = None
    tolerance: float | None = None
    keep: bool = False
    sharding: Any = None
    whole: bool = False

    def __post_init__(self) -> None:
        if self.num_samples < 2:
            raise ValueError(f"uncertainty needs at least 2 samples, got {self.num_samples}")
        if self.chunk != "auto" and not (
            isinstance(self.chunk, tuple) and len(self.chunk) == 2 and min(self.chunk) >= 1
        ):
            raise ValueError(f"chunk is 'auto' or (examples, samples), got {self.chunk!r}")
        if self.tolerance is not None and self.keep:
            raise ValueError("keep='samples' needs a fixed number of samples: leave out the tolerance")
        if self.tolerance is not None and self.tolerance <= 0:
            raise ValueError(f"tolerance is a standard error above 0, got {self.tolerance}")

    def sizes(self, examples: int, bytes_each: float) -> tuple[int, int]:
        """Examples and samples of a chunk."""
        if self.chunk != "auto":
            return min(self.chunk[0], examples), min(self.chunk[1], self.num_samples)
        budget = self.budget or _BUDGET.get(jax.default_backend(), _BUDGET_ELSEWHERE)
        fitting = int(budget / max(bytes_each, 1))
        most = examples if self.whole else min(examples, max(_FEWEST_EXAMPLES, fitting // self.num_samples))
        parts = -(-examples // most)
        rows = -(-examples // parts)  # evenly
        samples = max(1, min(self.num_samples, fitting // rows))
        even = [size for size in range(samples, samples // 2, -1) if self.num_samples % size == 0]
        return rows, even[0] if even else samples


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Sampled:
    """What came of the passes.

    Attributes:
        results: of the statistic, by name, each ``(r, b, ...)``.
        deterministic: the output of a pass in which nothing is dropped.
        count: passes, of the chunk of examples that had the fewest.
        outputs: of every pass, if they were to be kept.
    """

    results: dict[str, Float[Array, "r b ..."]]
    deterministic: Float[Array, "b ..."]
    count: Int[Array, ""]
    outputs: Float[Array, "r s b ..."] | None


def sample(
    function: Outputs,
    sites: tuple[SiteSpec, ...],
    statistic: Statistic,
    sampling: Sampling,
    key: jax.Array,
    rates: Float[Array, "r sites"],
    fixed: tuple[Any, Any, Int[Array, " b"]],
    context: Any = None,
    row_context: Any = None,
) -> Sampled:
    """Makes passes and keeps their statistic. To be traced.

    Args:
        function: the network.
        sites: those that drop.
        statistic: what is kept.
        sampling: how many passes and in what chunks.
        key: of all passes; pass i has ``fold_in(key, i)``, at every rate.
        rates: of the sites, for each of several rates.
        fixed: the network's variables, its input (a pytree with an axis of examples first), and the rows' numbers.
        context: what the statistic is told.
        row_context: the same with an axis of examples: then the statistic is told the pair of both.

    Raises:
        SiteError: a site is not run, or lies in a loop of the network.
    """
    variables, images, rows = fixed
    count = len(rows)
    whole = random_part(function, sites, variables, images)
    size, samples = sampling.sizes(count, whole.bytes / count)

    def some(images: Any, rows: Int[Array, " c"], row_context: Any) -> Sampled:
        part = whole if len(rows) == count else random_part(function, sites, variables, images)
        told = context if row_context is None else (context, row_context)
        residuals = part.cut.prefix((variables, images))

        def one(key: jax.Array, rates: Float[Array, " sites"]) -> Float[Array, "b ..."]:
            return part.cut.suffix(draw_masks(sites, part.visits, key, rates, rows), residuals)

        results, fewest, kept = _passes(one, statistic, sampling, samples, key, rates, told)
        return Sampled(results, part.cut.suffix(part.ones, residuals), fewest, kept)

    if size >= count:
        return some(images, rows, row_context)
    parts = -(-count // size)
    place = jnp.minimum(jnp.arange(parts * size), count - 1)  # the last chunk is filled up with the last example
    chunked = jax.tree.map(lambda x: x[place].reshape(parts, size, *x.shape[1:]), (images, rows, row_context))
    done: Sampled = lax.map(lambda chunk: some(*chunk), chunked)

    def joined(x: Array, axis: int) -> Array:
        x = jnp.moveaxis(x, 0, axis)
        x = x.reshape(*x.shape[:axis], parts * size, *x.shape[axis + 2 :])
        return lax.slice_in_dim(x, 0, count, axis=axis)

    return Sampled(
        {name: joined(value, 1) for name, value in done.results.items()},
        joined(done.deterministic, 0),
        done.count.min(),
        None if done.outputs is None else joined(done.outputs, 2),
    )


@dataclass(frozen=True)
class RandomPart:
    """A pass cut at its masks.

    Attributes:
        cut: the parts.
        visits: the sites' calls.
        ones: masks that drop nothing.
        bytes: of the values that a pass's random part holds at once, at their most.
    """

    cut: Cut
    visits: list[Visit]
    ones: Masks
    bytes: int


def random_part(function: Outputs, sites: tuple[SiteSpec, ...], variables: Any, images: Any) -> RandomPart:
    """Cuts a pass at its masks.

    Raises:
        SiteError: a site is not run, or lies in a loop of the network.
    """
    visits = visited(function, sites, variables, images)
    rows = jnp.arange(jax.tree.leaves(images)[0].shape[0])
    shapes = jax.eval_shape(
        lambda key, rates: draw_masks(sites, visits, key, rates, rows), jax.random.key(0), jnp.zeros(len(sites))
    )
    part = cut(masked_pass(function), shapes, (variables, images))
    if enters_loop(part):
        raise SiteError(
            "a site lies inside a loop of the network (jax.lax.scan, nnx.scan), whose rounds would all have the same "
            "mask: build the network with its layers unrolled (scan=False), or inject outside the loop"
        )
    drawn = max((4 * prod(shape.shape) for shape in shapes.values()), default=0)
    ones = {place: jnp.ones(shape.shape, shape.dtype) for place, shape in shapes.items()}
    return RandomPart(part, visits, ones, part.working_set + 2 * drawn)  # a mask, and the numbers it is made of


def _passes(
    one: Callable[[jax.Array, Float[Array, " sites"]], Float[Array, "b ..."]],
    statistic: Statistic,
    sampling: Sampling,
    size: int,
    key: jax.Array,
    rates: Float[Array, "r sites"],
    told: Any,
) -> tuple[dict[str, Array], Int[Array, ""], Any]:
    """All passes of one chunk of examples at every rate: the statistic, how many passes, and their outputs if kept."""
    full, rest = divmod(sampling.num_samples, size)

    def outputs(rates: Float[Array, " sites"], start: Int[Array, ""], number: int) -> Float[Array, "s b ..."]:
        keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, start + jnp.arange(number))
        if sampling.sharding is not None:
            keys = lax.with_sharding_constraint(keys, sampling.sharding)
        return jax.vmap(one, in_axes=(0, None))(keys, rates)

    def at(rates: Float[Array, " sites"]) -> tuple[dict[str, Array], Int[Array, ""], Any]:
        def add(state: Any, start: Int[Array, ""], number: int) -> tuple[Any, Any]:
            some = outputs(rates, start, number)
            return statistic.merge(state, statistic.of(some, told)), some if sampling.keep else None

        shapes = jax.eval_shape(lambda: statistic.of(outputs(rates, jnp.int32(0), size), told))
        state = statistic.empty(shapes)
        if sampling.tolerance is not None:
            state, done = _until(add, statistic, state, size, full, sampling.tolerance)
            return statistic.finish(state), done * size, None
        starts = jnp.arange(full, dtype=jnp.int32) * size
        state, kept = lax.scan(lambda state, start: add(state, start, size), state, starts)
        kept = None if kept is None else kept.reshape(full * size, *kept.shape[2:])
        if rest:
            state, last = add(state, jnp.int32(full * size), rest)
            kept = None if kept is None else jnp.concatenate([kept, last])
        return statistic.finish(state), jnp.int32(sampling.num_samples), kept

    results, count, kept = lax.map(at, rates)
    return results, count.min(), kept


def _until(
    add: Callable[[Any, Int[Array, ""], int], tuple[Any, Any]],
    statistic: Statistic,
    state: Any,
    size: int,
    most: int,
    tolerance: float,
) -> tuple[Any, Int[Array, ""]]:
    """Adds chunks until the standard error is small enough; returns how many."""
    fewest = min(-(-_FEWEST_SAMPLES // size), most)

    def unsure(carry: tuple[Any, Int[Array, ""]]) -> Array:
        state, done = carry
        return (done < fewest) | ((done < most) & ~(statistic.error(state).max() <= tolerance))

    def more(carry: tuple[Any, Int[Array, ""]]) -> tuple[Any, Int[Array, ""]]:
        state, done = carry
        return add(state, done * size, size)[0], done + 1

    done: tuple[Any, Int[Array, ""]] = lax.while_loop(unsure, more, (state, jnp.int32(0)))
    return done
