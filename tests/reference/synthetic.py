"""Weights and images made from names and seeds alone, so that both sides of a comparison can make them."""

import zlib
from collections.abc import Mapping

import numpy as np


def state_dict(shapes: Mapping[str, tuple[int, ...]], gain: float = 1.0, seed: int = 0) -> dict[str, np.ndarray]:
    """A PyTorch state dict in float32 of plausible scale, every array from its own name and shape.

    Normalisation layers, LayerScale and batch statistics are random too, so that no default can stand in for them.
    """
    return {name: _array(name, tuple(shape), gain, seed) for name, shape in shapes.items()}


def _array(name: str, shape: tuple[int, ...], gain: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    values = rng.standard_normal(shape, dtype=np.float32)
    leaf = name.rsplit(".", 1)[-1]
    if leaf == "running_var":
        return (0.5 + np.abs(values)).astype(np.float32)
    if leaf == "running_mean":
        return 0.1 * values
    if leaf == "gamma" or (leaf == "weight" and len(shape) == 1):
        return 1 + 0.1 * values
    if leaf == "weight" and len(shape) == 2 and ".conv_" in name:
        # CondConv: a row is a whole kernel, as many outputs as inputs are assumed.
        return values * np.float32(gain * shape[1] ** -0.25)
    if leaf == "weight":
        return values * np.float32(gain / np.sqrt(np.prod(shape[1:])))
    if leaf == "bias":
        return 0.1 * values
    return 0.2 * values  # tokens, position embeddings and bias tables


def images(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Images (batch, height, width, channels) of unit variance, smooth enough for neighbouring pixels to agree."""
    batch, height, width, channels = shape
    rng = np.random.default_rng([seed, *shape])
    coarse = rng.standard_normal((batch, -(-height // 4), -(-width // 4), channels), dtype=np.float32)
    smooth = coarse.repeat(4, axis=1).repeat(4, axis=2)[:, :height, :width]
    return 0.7 * smooth + 0.7 * rng.standard_normal(shape, dtype=np.float32)


def position_embedding(grid: tuple[int, int], prefix: int, dim: int = 4) -> np.ndarray:
    """Position embeddings of noise, (1, prefix + grid, dim)."""
    rng = np.random.default_rng([*grid, prefix])
    return rng.standard_normal((1, prefix + grid[0] * grid[1], dim), dtype=np.float32)


def bias_table(window: tuple[int, int], heads: int = 3) -> np.ndarray:
    """A relative position bias table of noise, (offsets, heads)."""
    rng = np.random.default_rng(window)
    return rng.standard_normal(((2 * window[0] - 1) * (2 * window[1] - 1), heads), dtype=np.float32)
