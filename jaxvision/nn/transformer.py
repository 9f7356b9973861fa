"""Transformer blocks: how norm, attention, MLP and residual connections are arranged.

A block is put together from parts that it does not know the inside of (see `BlockParts`), and is called as
``block(x, train=..., rngs=...)`` like every block of a `jaxvision.nn.Stack`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jaxvision.nn.attention import Attention
from jaxvision.nn.drop import DropPath, Rngs
from jaxvision.nn.init import constant
from jaxvision.nn.mlp import Mlp
from jaxvision.nn.rms_norm import TokenNorm
from jaxvision.nn.scale import LayerScale


@dataclass(frozen=True)
class BlockParts:
    """What a block is made of: each call makes another part.

    Attributes:
        dim: channels.
        norm: makes a norm over the channels.
        attn: makes a self-attention.
        mlp: makes an MLP.
        init_values: initial value of LayerScale; None for no LayerScale.
        drop_path: rate of stochastic depth.
        param_dtype: of LayerScale's parameters.
    """

    dim: int
    norm: Callable[[], TokenNorm]
    attn: Callable[[], Attention]
    mlp: Callable[[], Mlp]
    init_values: float | None = None
    drop_path: float = 0.0
    param_dtype: DTypeLike = jnp.float32

    def scale(self) -> LayerScale | None:
        """Makes a LayerScale, if there are to be any."""
        return (
            None if self.init_values is None else LayerScale(self.dim, self.init_values, param_dtype=self.param_dtype)
        )


class Block(nnx.Module):
    """Norm, then attention or MLP, then the residual connection (Dosovitskiy et al. 2021, eq. 2 and 3)."""

    def __init__(self, parts: BlockParts):
        self.norm1, self.attn, self.ls1 = parts.norm(), parts.attn(), parts.scale()
        self.drop_path1 = DropPath(parts.drop_path)
        self.norm2, self.mlp, self.ls2 = parts.norm(), parts.mlp(), parts.scale()
        self.drop_path2 = DropPath(parts.drop_path)

    def __call__(self, x: Float[Array, "b n c"], train: bool = False, rngs: Rngs = None) -> Float[Array, "b n c"]:
        """Attends, then transforms each token."""
        x = x + self.drop_path1(_scaled(self.ls1, self.attn(self.norm1(x), rngs)), rngs)
        return x + self.drop_path2(_scaled(self.ls2, self.mlp(self.norm2(x), rngs)), rngs)


class ResPostBlock(nnx.Module):
    """Attention or MLP, then the norm, then the residual connection (Liu et al. 2022, "Swin Transformer V2", fig. 1).

    The norms' own scale is LayerScale here, and starts at its initial value.
    """

    def __init__(self, parts: BlockParts):
        self.attn, self.norm1 = parts.attn(), parts.norm()
        self.drop_path1 = DropPath(parts.drop_path)
        self.mlp, self.norm2 = parts.mlp(), parts.norm()
        self.drop_path2 = DropPath(parts.drop_path)
        if parts.init_values is not None:
            for norm in (self.norm1, self.norm2):
                norm.scale = nnx.Param(constant(parts.init_values, parts.dim, parts.param_dtype))

    def __call__(self, x: Float[Array, "b n c"], train: bool = False, rngs: Rngs = None) -> Float[Array, "b n c"]:
        """Attends, then transforms each token."""
        x = x + self.drop_path1(self.norm1(self.attn(x, rngs)), rngs)
        return x + self.drop_path2(self.norm2(self.mlp(x, rngs)), rngs)


class ParallelThingsBlock(nnx.Module):
    """Several attentions side by side, then several MLPs (Touvron et al. 2022, "Three things", section 3).

    Attributes:
        attns: ``norm``, ``attn``, ``ls`` and ``drop_path`` of each.
        ffns: ``norm``, ``mlp``, ``ls`` and ``drop_path`` of each.
    """

    def __init__(self, parts: BlockParts, num_parallel: int = 2):
        self.attns = nnx.List([_AttentionBranch(parts) for _ in range(num_parallel)])
        self.ffns = nnx.List([_MlpBranch(parts) for _ in range(num_parallel)])

    def __call__(self, x: Float[Array, "b n c"], train: bool = False, rngs: Rngs = None) -> Float[Array, "b n c"]:
        """Adds up what all attentions make of the tokens, then what all MLPs do."""
        x = x + sum(branch(x, rngs) for branch in self.attns)
        return x + sum(branch(x, rngs) for branch in self.ffns)


class _AttentionBranch(nnx.Module):
    def __init__(self, parts: BlockParts):
        self.norm, self.attn, self.ls = parts.norm(), parts.attn(), parts.scale()
        self.drop_path = DropPath(parts.drop_path)

    def __call__(self, x: Float[Array, "b n c"], rngs: Rngs = None) -> Float[Array, "b n c"]:
        return self.drop_path(_scaled(self.ls, self.attn(self.norm(x), rngs)), rngs)


class _MlpBranch(nnx.Module):
    def __init__(self, parts: BlockParts):
        self.norm, self.mlp, self.ls = parts.norm(), parts.mlp(), parts.scale()
        self.drop_path = DropPath(parts.drop_path)

    def __call__(self, x: Float[Array, "b n c"], rngs: Rngs = None) -> Float[Array, "b n c"]:
        return self.drop_path(_scaled(self.ls, self.mlp(self.norm(x), rngs)), rngs)


def _scaled(scale: LayerScale | None, x: Float[Array, "b n c"]) -> Float[Array, "b n c"]:
    return x if scale is None else scale(x)
