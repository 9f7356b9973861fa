"""Initialisers of the papers.

Compiling is nearly all the time it takes to build a model for the first time, so an array is cut from a flat draw of
one of a few lengths: a network of a hundred shapes compiles a handful of generators. The numbers do not depend on the
length, since JAX computes each from the key and its own index.
"""

import math
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array

_SHORT, _LONG = 2**14, 2**18  # the lengths: one short, and multiples of a long one


@partial(jax.jit, static_argnums=(0, 2))
def _flat(draw: Callable[..., Array], key: jax.Array, count: int, factor: float) -> Array:
    return factor * draw(key, (count,))


def _initializer(draw: Callable[..., Array], scale: Callable[[tuple[int, ...]], float]) -> nnx.Initializer:
    """``draw(key, shape)`` times ``scale(shape of the parameter)``, the axes of which are (..., in, out)."""

    def init(key: jax.Array, shape: tuple[int, ...], dtype: DTypeLike = jnp.float32) -> Array:
        size = math.prod(shape)
        count = _SHORT if size <= _SHORT else -(-size // _LONG) * _LONG
        values = _flat(draw, key, count, scale(shape))
        if isinstance(values, jax.core.Tracer):
            return values[:size].reshape(shape).astype(dtype)
        return jax.device_put(np.asarray(values)[:size].reshape(shape).astype(dtype))  # compiles nothing

    return init


def constant(value: float, size: int, dtype: DTypeLike = jnp.float32) -> Array:
    """A vector of one value, made without compiling: `jnp.full` and `jnp.asarray` would, for every size."""
    return jax.device_put(np.full(size, value, dtype))


def _fan_in(shape: tuple[int, ...]) -> int:
    return math.prod(shape[:-1])


def _fan_out(shape: tuple[int, ...]) -> int:
    return math.prod(shape[:-2]) * shape[-1]


def _cut_normal(key: jax.Array, shape: tuple[int, ...]) -> Array:
    return jax.random.truncated_normal(key, -2.0, 2.0, shape)


def _symmetric_uniform(key: jax.Array, shape: tuple[int, ...]) -> Array:
    return jax.random.uniform(key, shape, minval=-1.0, maxval=1.0)


def cut_normal(stddev: float) -> nnx.Initializer:
    """Normal of a standard deviation, cut at two of them."""
    return _initializer(_cut_normal, lambda shape: stddev)


def normal(stddev: float) -> nnx.Initializer:
    """Normal of a standard deviation."""
    return _initializer(jax.random.normal, lambda shape: stddev)


small_normal = normal(0.02)
"""Normal of standard deviation 0.02: every projection of ViT, DeiT and Swin. timm cuts it at 100 deviations."""

nearly_zero = normal(1e-6)
"""Normal of standard deviation 1e-6: class and register tokens."""

kaiming_fan_out = _initializer(jax.random.normal, lambda shape: (2 / _fan_out(shape)) ** 0.5)
"""Normal of variance ``2 / fan_out`` for convolution kernels (He et al. 2015, eq. 14)."""

torch_linear = _initializer(_symmetric_uniform, lambda shape: _fan_in(shape) ** -0.5)
"""Uniform within ``1 / sqrt(fan_in)``: PyTorch's default, and so classifiers of ResNets and patch embeddings."""


def draw_torch_bias(layer: Any, rngs: nnx.Rngs) -> None:
    """Draws a layer's bias as PyTorch does by default, uniform within ``1 / sqrt(fan_in)``; it was 0 till then."""
    if layer.bias is not None:
        draw = _initializer(_symmetric_uniform, lambda shape: _fan_in(layer.kernel.shape) ** -0.5)
        layer.bias.set_value(draw(rngs.params(), layer.bias.shape, layer.bias.dtype))


google_linear = _initializer(_symmetric_uniform, lambda shape: _fan_out(shape) ** -0.5)
"""Uniform within ``1 / sqrt(fan_out)``: the classifiers of EfficientNets."""

google_routing = _initializer(_symmetric_uniform, lambda shape: (_fan_in(shape) + _fan_out(shape)) ** -0.5)
"""Uniform within ``1 / sqrt(fan_in + fan_out)``: what routes CondConvs."""


@cache
def google_conv(groups: int = 1) -> nnx.Initializer:
    """Normal of variance ``2 groups / fan_out``: He's for one group, so that depthwise convolutions keep the scale."""
    return _initializer(jax.random.normal, lambda shape: (2 * groups / _fan_out(shape)) ** 0.5)
