"""Normalisation. Statistics are float32 whatever the compute dtype."""

from typing import Any, TypeVar, Unpack

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jaxvision.nn._barrier import computed_once
from jaxvision.nn._channel_sums import channel_sums
from jaxvision.nn._implementation import chosen_implementation
from jaxvision.nn._varying import vary_alike
from jaxvision.nn.init import constant
from jaxvision.nn.layer_args import LayerArgs
from jaxvision.paths import named_modules

Model = TypeVar("Model", bound=nnx.Module)


class BatchNorm(nnx.Module):
    """Batch normalisation (Ioffe and Szegedy 2015) with PyTorch's running statistics.

    ``train=True`` normalises with the batch's statistics and moves the running ones; nothing else does. The running
    variance takes the unbiased variance of the batch, as PyTorch's does and Flax's does not. Under `jax.jit` with a
    sharded batch the statistics are those of the global batch; under `jax.pmap` and `jax.shard_map` give
    ``axis_name`` for that.

    In training, of feature maps, it has gradients of its own in reverse mode; forward mode (`jax.jvp`) goes through
    ``with jaxvision.nn.conv.implementation("native")``.

    ``zero_scale`` starts with a scale of 0, for the last norm of a residual branch (Goyal et al. 2017, section 5.1).

    Attributes:
        scale, bias: parameters, (features,).
        mean, var: running statistics, (features,), float32.
        momentum: share of the running statistics that a step keeps: 1 minus PyTorch's momentum.
        axis_name: mapped axis or axes over which the batch's statistics are averaged.
    """

    def __init__(
        self,
        num_features: int,
        *,
        eps: float = 1e-5,
        momentum: float = 0.9,
        zero_scale: bool = False,
        dtype: DTypeLike | None = None,
        param_dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        self.eps = eps
        self.momentum = momentum
        self.dtype = dtype
        self.axis_name: str | tuple[str, ...] | None = None
        self.scale = nnx.Param(constant(0 if zero_scale else 1, num_features, param_dtype))
        self.bias = nnx.Param(constant(0, num_features, param_dtype))
        self.mean = nnx.BatchStat(constant(0, num_features))
        self.var = nnx.BatchStat(constant(1, num_features))

    def __call__(self, x: Float[Array, "... c"], train: bool = False) -> Float[Array, "... c"]:
        """Normalises over all axes but the last."""
        dtype = self.dtype or jnp.promote_types(x.dtype, self.scale[...].dtype)
        if train:
            return self._by_the_batch(x.astype(jnp.float32)).astype(dtype)
        multiplier, mean = self.scale[...].astype(jnp.float32) * jax.lax.rsqrt(self.var[...] + self.eps), self.mean[...]
        return (x * multiplier + (self.bias[...].astype(jnp.float32) - mean * multiplier)).astype(dtype)

    def _by_the_batch(self, x: Float[Array, "... c"]) -> Float[Array, "... c"]:
        # The mean square less the squared mean: its gradient is a pass shorter than that of the squares about the mean.
        # What keeps it from cancelling is that both are taken about `near`, the mean of the images' middle row: one row
        # of h is at most sqrt(h) standard deviations from the mean, so that no more than a factor h of float32's
        # precision can be lost, at the very worst.
        axes = tuple(range(x.ndim - 1))
        count = x.size // x.shape[-1]
        near = jax.lax.stop_gradient(jnp.mean(x[:, x.shape[1] // 2, None] if x.ndim == 4 else x, axes))
        if self.axis_name is not None:
            count *= jax.lax.axis_size(self.axis_name)
            near = jax.lax.pmean(near, self.axis_name)
        distance = x - near
        moments = _moments(distance)
        if self.axis_name is not None:
            moments = jax.lax.pmean(moments, self.axis_name)
        mean, var = moments[0], jnp.maximum(moments[1] - jnp.square(moments[0]), 0)
        keep = self.momentum
        self.mean[...] = keep * self.mean[...] + (1 - keep) * (near + mean)
        self.var[...] = keep * self.var[...] + (1 - keep) * var * (count / max(count - 1, 1))
        multiplier = self.scale[...].astype(jnp.float32) * jax.lax.rsqrt(var + self.eps)
        return _affine(distance, multiplier, self.bias[...].astype(jnp.float32) - mean * multiplier)


# What batch normalisation does to a feature map, with gradients that need two sums of one pass each, and no other.


def _moments(x: Float[Array, "... c"]) -> tuple[Float[Array, " c"], Float[Array, " c"]]:
    """The means of ``x`` and of its squares."""
    if _has_own_gradients(x):
        return _summed_moments(x)
    axes = tuple(range(x.ndim - 1))
    return jnp.mean(x, axes), jnp.mean(jnp.square(x), axes)


def _affine(
    x: Float[Array, "... c"], multiplier: Float[Array, " c"], shift: Float[Array, " c"]
) -> Float[Array, "... c"]:
    if _has_own_gradients(x):
        return _summed_affine(*vary_alike(x, multiplier, shift))
    return x * multiplier + shift


def _has_own_gradients(x: Float[Array, "... c"]) -> bool:
    return x.ndim == 4 and chosen_implementation() == "auto"


@jax.custom_vjp
def _summed_moments(x: Array) -> tuple[Array, Array]:
    count = x.size // x.shape[-1]
    first, second = channel_sums(x, x)
    return first / count, second / count


def _moments_gradient(x: Array, gradients: tuple[Array, Array]) -> tuple[Array]:
    first, second = gradients
    return ((first + 2 * second * x) / (x.size // x.shape[-1]),)


@jax.custom_vjp
def _summed_affine(x: Array, multiplier: Array, shift: Array) -> Array:
    return x * multiplier + shift


def _affine_gradient(residuals: tuple[Array, Array], gradient: Array) -> tuple[Array, Array, Array]:
    x, multiplier = residuals
    gradient = computed_once(gradient)
    shifts, multipliers = channel_sums(gradient, x)
    return gradient * multiplier, multipliers, shifts


_summed_moments.defvjp(lambda x: (_summed_moments(x), x), _moments_gradient)
_summed_affine.defvjp(lambda x, *vectors: (_summed_affine(x, *vectors), (x, vectors[0])), _affine_gradient)


class LayerNorm(nnx.LayerNorm):
    """Layer normalisation over the last axis (Ba et al. 2016), its variance computed in two passes as PyTorch's."""

    def __init__(self, num_features: int, *, eps: float = 1e-6, **layer: Unpack[LayerArgs]):
        super().__init__(num_features, epsilon=eps, use_fast_variance=False, **layer)


class LayerNorm2d(LayerNorm):
    """`LayerNorm` over the channels of a feature map, called as the other norms of maps are."""

    def __call__(self, x: Float[Array, "b h w c"], train: bool = False, *, mask: Any = None) -> Float[Array, "b h w c"]:
        """Normalises; ``train`` changes nothing and is there because batch normalisation has it."""
        y: Float[Array, "b h w c"] = super().__call__(x, mask=mask)
        return y


def set_axis_name(model: Model, axis_name: str | tuple[str, ...] | None) -> Model:
    """A copy of a model whose batch normalisation averages its statistics over a mapped axis.

    What `jax.pmap` and `jax.shard_map` need for the statistics of the global batch; plain `jax.jit` does not.

    Args:
        model: any module; it is not changed, and the copy shares its variables. Our `BatchNorm` and Flax's are set.
        axis_name: the mapped axis or axes; None for none.
    """
    model = nnx.clone(model, variables=False, graph=True)
    for module in named_modules(model).values():
        if isinstance(module, BatchNorm | nnx.BatchNorm):
            module.axis_name = axis_name
    return model
