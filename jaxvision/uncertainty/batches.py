"""Rows of images in batches of one size, whatever they come in, so that a function is compiled once."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import jax
import numpy as np
from jaxtyping import Bool, Int, Shaped

Rows = Shaped[np.ndarray, "n ..."] | jax.Array | Iterable[np.ndarray | jax.Array]
"""An array (n, ...), or what gives batches of such rows anew each time it is iterated over (a list, a loader)."""


@dataclass(frozen=True)
class Batch:
    """Some rows; the last batch is filled up with its last row.

    Attributes:
        images: the rows.
        rows: their numbers in the whole, which the masks depend on.
        count: how many of them are real.
    """

    images: np.ndarray
    rows: Int[np.ndarray, " b"]
    count: int


def batches(x: Rows, batch_size: int, chosen: Bool[np.ndarray, " n"] | None = None) -> Iterator[Batch]:
    """Goes through the rows once, in order.

    Args:
        x: the rows.
        batch_size: rows in each batch; of fewer rows in all, one batch is made of that many.
        chosen: which rows to take; None for all.

    Raises:
        ValueError: there is no row, or ``batch_size`` is not at least 1.
        TypeError: ``x`` is neither an array nor re-iterable.
    """
    waiting: list[np.ndarray] = []
    numbers: list[np.ndarray] = []
    start, ready, given = 0, 0, 0
    for block in _blocks(x, batch_size):
        rows = np.arange(start, start + len(block))
        start += len(block)
        if chosen is not None:
            kept = chosen[rows]
            block, rows = block[kept], rows[kept]
        waiting.append(block)
        numbers.append(rows)
        ready += len(rows)
        if ready >= batch_size:
            images, rows = np.concatenate(waiting), np.concatenate(numbers)
            full = ready - ready % batch_size
            for at in range(0, full, batch_size):
                yield Batch(images[at : at + batch_size], rows[at : at + batch_size], batch_size)
            waiting, numbers, ready, given = [images[full:]], [rows[full:]], ready - full, given + full
    if not given and not ready:
        raise ValueError("there is no row: x is empty")
    if ready:
        images, rows = np.concatenate(waiting), np.concatenate(numbers)
        place = np.minimum(np.arange(batch_size if given else ready), ready - 1)
        yield Batch(images[place], rows[place], ready)


def map_rows(x: Rows, function: Callable[[np.ndarray], np.ndarray], batch_size: int) -> np.ndarray:
    """What a host function says of each block of rows, joined along axis 0."""
    parts = [function(block) for block in _blocks(x, batch_size)]
    if not parts:
        raise ValueError("there is no row: x is empty")
    return np.concatenate(parts)


def _blocks(x: Rows, batch_size: int) -> Iterator[np.ndarray]:
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    if isinstance(x, np.ndarray | jax.Array):
        for start in range(0, len(x), batch_size):
            yield np.asarray(x[start : start + batch_size])
        return
    if not isinstance(x, Iterable) or isinstance(x, Iterator):
        raise TypeError(
            f"rows come as an array or as something that can be iterated over more than once, such as a list of "
            f"batches, since tuning goes over them several times; got {type(x).__name__}"
        )
    for block in x:
        yield np.asarray(block)
