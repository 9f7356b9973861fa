"""Cutting a map into windows, shifted or not, and putting it together again (Liu et al. 2021, arXiv:2103.14030)."""

from collections.abc import Callable
from functools import lru_cache

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxvision.nn.patch import pad_to_multiple

Window = tuple[int, int]
"""Height and width of a window in tokens."""


def in_windows(
    x: Float[Array, "b h w c"],
    window: Window,
    shift: Window,
    function: Callable[[Float[Array, "b windows n c"]], Float[Array, "b windows n d"]],
) -> Float[Array, "b h w d"]:
    """Runs a function on the windows of a map that is shifted up and left, and shifts the result back.

    A map that is no whole number of windows is padded with zeros below and to the right, and cut back after: shifted
    first and padded then, as the published weights were trained with timm's and tested against it.
    """
    height, width = x.shape[1:3]
    shifted = jnp.roll(x, (-shift[0], -shift[1]), axis=(1, 2)) if any(shift) else x
    windows = function(partition(pad_to_multiple(shifted, window), window))
    x = merge(windows, window, padded_size((height, width), window))[:, :height, :width]
    return jnp.roll(x, shift, axis=(1, 2)) if any(shift) else x


def padded_size(size: tuple[int, int], window: Window) -> tuple[int, int]:
    """The smallest size of whole windows that holds a map of this size."""
    return -(-size[0] // window[0]) * window[0], -(-size[1] // window[1]) * window[1]


def partition(x: Float[Array, "b h w c"], window: Window) -> Float[Array, "b windows n c"]:
    """Cuts a map into its windows, row by row."""
    batch, height, width, dim = x.shape
    rows, columns = height // window[0], width // window[1]
    x = x.reshape(batch, rows, window[0], columns, window[1], dim).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(batch, rows * columns, window[0] * window[1], dim)


def merge(windows: Float[Array, "b windows n c"], window: Window, size: tuple[int, int]) -> Float[Array, "b h w c"]:
    """Puts a map of this size together from its windows: the inverse of `partition`."""
    batch, *_, dim = windows.shape
    rows, columns = size[0] // window[0], size[1] // window[1]
    x = windows.reshape(batch, rows, columns, window[0], window[1], dim).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(batch, *size, dim)


def shift_mask(size: tuple[int, int], window: Window, shift: Window) -> Float[np.ndarray, "windows n n"]:
    """What keeps apart, after the shift, tokens of one window that come from different sides of the map (figure 4).

    Args:
        size: of the map, a whole number of windows.
        window: of the attention.
        shift: of the windows.

    Returns:
        -100, as in the authors' code, where two positions were not neighbours, else 0.
    """
    return _shift_mask(size, window, shift).copy()


@lru_cache(maxsize=64)
def _shift_mask(size: tuple[int, int], window: Window, shift: Window) -> Float[np.ndarray, "windows n n"]:
    regions = []
    for side, length, step in zip(size, window, shift, strict=True):
        position = np.arange(side)
        regions.append((position >= side - length).astype(int) + (position >= side - step) if step else 0 * position)
    region = 3 * regions[0][:, None] + regions[1][None, :]
    rows, columns = size[0] // window[0], size[1] // window[1]
    region = region.reshape(rows, window[0], columns, window[1]).transpose(0, 2, 1, 3).reshape(rows * columns, -1)
    return np.where(region[:, None, :] == region[:, :, None], 0, -100).astype(np.float32)
