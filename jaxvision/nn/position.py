"""Resizing what a network learnt about positions to another grid."""

from dataclasses import dataclass
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

INTERPOLATIONS = ("bicubic", "bilinear", "bilinear_aligned")


@dataclass(frozen=True)
class PositionFit:
    """How weights are fitted to another image size where it is their source, not the model, that decides.

    Attributes:
        interpolation: of position and patch embeddings, see `resize_pos_embed`; None for the model's.
        crop: position embeddings by `crop_pos_embed` instead of `resize_pos_embed`.
    """

    interpolation: str | None = None
    crop: bool = False


def resize_pos_embed(
    pos_embed: Float[Array, "1 n c"],
    new_grid: tuple[int, int],
    old_grid: tuple[int, int],
    num_prefix: int = 0,
    interpolation: str = "bicubic",
) -> Float[Array, "1 m c"]:
    """Resizes position embeddings to another grid of patches, leaving those of prefix tokens alone.

    Args:
        pos_embed: of the prefix tokens, then of the patches row by row.
        new_grid: patches per column and row, wanted.
        old_grid: the same, given.
        num_prefix: number of prefix tokens.
        interpolation: ``"bicubic"`` with antialiasing and a kernel of a = -0.5, which is timm's answer (to 1e-6) for
            nearly all networks; Hugging Face's (a = -0.75 and no antialiasing) and torchvision's (aligned corners)
            differ from it, when enlarging too. ``"bilinear"``, without antialiasing, for FlexiViT, RADIO and
            Google's files; ``"bilinear_aligned"``, also with the corners of both grids at the same places, for some
            RADIOs.

    Raises:
        ValueError: the embeddings do not have ``num_prefix`` + the old grid's patches.
    """
    height, width = old_grid
    if pos_embed.shape[1] != num_prefix + height * width:
        raise ValueError(
            f"position embeddings of {pos_embed.shape[1]} tokens are not those of {num_prefix} prefix tokens "
            f"and a grid of {old_grid}"
        )
    if old_grid == new_grid:
        return pos_embed
    prefix, patches = pos_embed[:, :num_prefix], pos_embed[:, num_prefix:]
    patches = resize_grid(patches.reshape(1, height, width, -1), new_grid, interpolation)
    return jnp.concatenate([prefix, patches.reshape(1, -1, pos_embed.shape[-1])], axis=1)


def crop_pos_embed(
    pos_embed: Float[Array, "1 n c"],
    new_grid: tuple[int, int],
    num_prefix: int = 0,
    interpolation: str = "bilinear",
) -> Float[Array, "1 m c"]:
    """Resizes a square grid's position embeddings to a square of the longer side, and keeps its first rows and columns.

    NVIDIA's RADIO does so in every pass, and timm with its files: a step is as long down as across.

    Args:
        pos_embed: of the prefix tokens, then of the patches row by row.
        new_grid: patches per column and row, wanted.
        num_prefix: number of prefix tokens.
        interpolation: see `resize_pos_embed`.

    Raises:
        ValueError: the patches do not make a square.
    """
    side = max(new_grid)
    square = resize_pos_embed(
        pos_embed, (side, side), square_grid(pos_embed.shape[1] - num_prefix), num_prefix, interpolation
    )
    if new_grid == (side, side):
        return square
    prefix, patches = square[:, :num_prefix], square[:, num_prefix:]
    patches = patches.reshape(1, side, side, -1)[:, : new_grid[0], : new_grid[1]]
    return jnp.concatenate([prefix, patches.reshape(1, -1, pos_embed.shape[-1])], axis=1)


def resize_grid(
    grid: Float[Array, "1 h w c"], size: tuple[int, int], interpolation: str = "bicubic"
) -> Float[Array, "1 H W c"]:
    """Resizes a grid of vectors, in float32, see `resize_pos_embed`.

    Raises:
        ValueError: unknown interpolation.
    """
    if interpolation not in INTERPOLATIONS:
        raise ValueError(f"unknown interpolation {interpolation!r}; there are {INTERPOLATIONS}")
    values = jnp.asarray(grid, jnp.float32)
    shape = (1, *size, grid.shape[-1])
    if interpolation == "bicubic":
        resized = jax.image.resize(values, shape, jax.image.ResizeMethod.CUBIC, antialias=True)
    elif interpolation == "bilinear":
        resized = jax.image.resize(values, shape, jax.image.ResizeMethod.LINEAR, antialias=False)
    else:  # JAX counts from the edge of the first pixel, half a pixel before its centre
        scale = jnp.asarray([(new - 1) / max(old - 1, 1) for new, old in zip(size, grid.shape[1:3], strict=True)])
        resized = jax.image.scale_and_translate(
            values, shape, (1, 2), scale, 0.5 - 0.5 * scale, jax.image.ResizeMethod.LINEAR, antialias=False
        )
    return resized.astype(grid.dtype)


def square_grid(num_patches: int) -> tuple[int, int]:
    """The grid of a square image of so many patches.

    Raises:
        ValueError: the number is not a square.
    """
    side = round(num_patches**0.5)
    if side * side != num_patches:
        raise ValueError(f"{num_patches} patches do not make a square grid: say which grid the weights are for")
    return side, side


def relative_position_index(window: tuple[int, int]) -> Int[np.ndarray, "n n"]:
    """Row of the bias table for every pair of positions of a window (Liu et al. 2021, section 3.2).

    Row ``(dy + h - 1)(2 w - 1) + dx + w - 1`` is the offset (dy, dx) from the second position to the first.
    """
    return _relative_position_index(window).copy()


@lru_cache(maxsize=64)
def _relative_position_index(window: tuple[int, int]) -> Int[np.ndarray, "n n"]:
    height, width = window
    position = np.stack(np.meshgrid(np.arange(height), np.arange(width), indexing="ij"), axis=-1).reshape(-1, 2)
    offset = position[:, None] - position[None, :]
    return (offset[..., 0] + height - 1) * (2 * width - 1) + offset[..., 1] + width - 1


def resize_relative_position_bias(
    table: Float[np.ndarray, "n heads"], new_window: tuple[int, int], old_window: tuple[int, int]
) -> Float[np.ndarray, "m heads"]:
    """Resizes a relative position bias table to another window, near offsets kept finer than far ones.

    As BEiT (Bao et al. 2022) and timm do: the old offsets are placed on a geometric progression that ends where the new
    window ends, and read off linearly at the new offsets.

    Raises:
        ValueError: the table is not one of ``old_window``.
    """
    old_grid = (2 * old_window[0] - 1, 2 * old_window[1] - 1)
    new_grid = (2 * new_window[0] - 1, 2 * new_window[1] - 1)
    if table.shape[0] != old_grid[0] * old_grid[1]:
        raise ValueError(f"a table of {table.shape[0]} rows is not one of a {old_window} window")
    if old_grid == new_grid:
        return table
    rows, columns = (_geometric_interpolation(old, new) for old, new in zip(old_grid, new_grid, strict=True))
    grid = np.asarray(table, np.float64).reshape(*old_grid, -1)
    resized = np.einsum("Hh,Ww,hwc->HWc", rows, columns, grid)
    return resized.reshape(-1, table.shape[-1]).astype(table.dtype)


def _geometric_interpolation(old: int, new: int) -> Float[np.ndarray, "new old"]:
    """Matrix that reads values at ``old`` offsets, spaced geometrically about 0, at ``new`` offsets of spacing 1."""
    reach, target = old // 2, new // 2
    low, high = 1.01, 1.5
    while high - low > 1e-6:
        ratio = (low + high) / 2
        if (1 - ratio**reach) / (1 - ratio) > target:
            high = ratio
        else:
            low = ratio
    positive = np.cumsum(ratio ** np.arange(reach))
    positions = np.concatenate([-positive[::-1], [0.0], positive])
    wanted = np.arange(-target, target + 1.0)
    return np.stack([np.interp(wanted, positions, unit) for unit in np.eye(old)], axis=1)
