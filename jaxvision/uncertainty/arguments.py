"""What the functions of this package check of their arguments."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from jaxvision.paths import suggestion
from jaxvision.uncertainty.sample import Sampling

TASKS = ("classification", "binary", "multilabel", "regression", "heteroscedastic")


def checked_task(task: str) -> str:
    """A task's name in this package.

    Raises:
        ValueError: there is no such task.
    """
    task = "classification" if task == "multiclass" else task
    if task not in TASKS:
        raise ValueError(f"unknown task {task!r}{suggestion(task, TASKS)}; there are {', '.join(TASKS)}")
    return task


def checked_key(key: jax.Array) -> jax.Array:
    """A typed key whose numbers are the same under `jax.vmap` as without.

    Raises:
        ValueError: a key of another kind.
    """
    if not jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        key = jax.random.wrap_key_data(key)
    kind = str(jax.random.key_impl(key))
    if "threefry" not in kind:
        raise ValueError(
            f"the key is of the kind {kind}, whose numbers change under vmap, so that results would depend on the "
            "chunks: use jax.random.key(seed, impl='threefry2x32')"
        )
    if key.shape:
        raise ValueError(f"one key is expected, got an array of keys of shape {key.shape}: passes have their own keys")
    return key


def row_numbers(images: Any, rows: Any) -> Int[Array, " b"]:
    """Numbers of the examples: 0, 1, ... if none are given.

    Raises:
        ValueError: there are not as many as examples.
    """
    count = jax.tree.leaves(images)[0].shape[0]
    if rows is None:
        return jnp.arange(count, dtype=jnp.int32)
    rows = jnp.asarray(rows, jnp.int32)
    if rows.shape != (count,):
        raise ValueError(f"rows are numbers of the {count} examples, got shape {rows.shape}")
    return rows


def placed(sampling: Sampling, images: Any) -> Sampling:
    """A batch that lies on several devices is not divided: its examples already are."""
    if sampling.chunk != "auto":
        return sampling
    for leaf in jax.tree.leaves(images):
        if isinstance(leaf, jax.Array) and not isinstance(leaf, jax.core.Tracer) and len(leaf.sharding.device_set) > 1:
            return replace(sampling, whole=True)
    return sampling


def shapes_of(example: Any, per_example: bool = False, count: int = 2) -> Any:
    """The shapes of ``count`` examples, or of one without an axis of examples."""
    lead = () if per_example else (count,)
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct((*lead, *x.shape[1:]), x.dtype), example)
