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
