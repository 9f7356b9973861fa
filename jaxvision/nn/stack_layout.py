"""Between the two layouts of a stack's arrays: one by one, as the models have them, and stacked, as a scan reads them.

Frameworks that scan over layers (Flax's ``nn.scan``, big_vision) keep one array for all blocks, with a leading axis.
"""

import itertools
import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

Tree = dict[str, Any]
_RUN = re.compile(r"(\d+):(\d+)")


def stack_blocks(tree: Mapping[str, Any]) -> Tree:
    """Stacks the arrays of numbered neighbours that have the same names, shapes and types.

    ``{"blocks": {"0": {"w": a}, "1": {"w": b}}}`` becomes ``{"blocks": {"0:2": {"w": stack([a, b])}}}``: the key is the
    range of the blocks, as a slice. What has no like neighbour, such as the first block of a ResNet's stage, stays.

    Args:
        tree: nested dictionaries, such as ``variables`` or ``variables["params"]`` of `jaxvision.to_functional`.

    Returns:
        A tree of its own; `unstack_blocks` is its inverse. Under `jax.jit` neither need cost a copy.

    Raises:
        ValueError: the tree is stacked already.
    """
    if any(_RUN.fullmatch(key) for key in tree):
        raise ValueError(f"the tree is stacked already: it has {next(key for key in tree if _RUN.fullmatch(key))!r}")
    numbers = sorted(int(key) for key in tree if key.isdigit())
    if len(numbers) != len(tree):
        return {key: stack_blocks(value) if isinstance(value, Mapping) else value for key, value in tree.items()}
    stacked: Tree = {}
    for _, group in itertools.groupby(enumerate(numbers), lambda pair: (pair[1] - pair[0], _shape(tree[str(pair[1])]))):
        run = [number for _, number in group]
        values = [tree[str(number)] for number in run]
        if len(run) == 1 or not isinstance(values[0], Mapping):
            for number, value in zip(run, values, strict=True):
                stacked[str(number)] = stack_blocks(value) if isinstance(value, Mapping) else value
        else:
            stacked[f"{run[0]}:{run[-1] + 1}"] = jax.tree.map(lambda *leaves: jnp.stack(leaves), *values)
    return stacked


def unstack_blocks(tree: Mapping[str, Any]) -> Tree:
    """One entry for every block again: the inverse of `stack_blocks`.

    Raises:
        ValueError: an array under a range of blocks has another number of them along its first axis.
    """
    single: Tree = {}
    for key, value in tree.items():
        match = _RUN.fullmatch(key)
        if match is None:
            single[key] = unstack_blocks(value) if isinstance(value, Mapping) else value
            continue
        first, last = int(match[1]), int(match[2])
        for path, leaf in jax.tree_util.tree_leaves_with_path(value):
            if leaf.shape[:1] != (last - first,):
                where = jax.tree_util.keystr(path, simple=True, separator=".")
                raise ValueError(f"{key}.{where} has shape {leaf.shape}, expected {last - first} blocks along axis 0")
        for index in range(last - first):
            single[str(first + index)] = jax.tree.map(lambda leaf, index=index: leaf[index], value)
    return single


def _shape(value: Any) -> Any:
    """Names, shapes and types of all arrays below."""
    leaves, structure = jax.tree.flatten(value)
    return structure, tuple((leaf.shape, leaf.dtype) for leaf in leaves)
