"""Conditionally parameterised convolution (Yang et al. 2019, "CondConv", arXiv:1904.04971)."""

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jaxvision.nn.conv import IntPair, Padding, conv2d
from jaxvision.nn.init import normal


class CondConv2d(nnx.Module):
    """A convolution whose kernel is, for each image, a mixture of experts' kernels (section 3, equation 1).

    The experts are mixed before they convolve: one convolution an image, whatever their number.

    Args:
        in_features: channels of the input.
        out_features: channels of the output.
        kernel_size: of the square window.
        num_experts: how many kernels are mixed.
        stride: see `conv2d`, as are ``padding``, ``dilation`` and ``groups``.
        padding: zeros around the image.
        dilation: distance of the kernel's taps.
        groups: of channels.
        dtype: of the computation; None for the promoted dtype of input and parameters.
        param_dtype: of the parameters.
        rngs: stream ``params`` draws the kernels, each as `Conv2d` draws its own.

    Attributes:
        weight: (experts, out_features * in_features / groups * kernel_size**2), each row a kernel in PyTorch's order
            (out, in, height, width): timm's parameter as it is.

    Raises:
        ValueError: if ``groups`` does not divide both numbers of channels.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: int,
        *,
        num_experts: int,
        stride: IntPair = 1,
        padding: Padding = 0,
        dilation: IntPair = 1,
        groups: int = 1,
        dtype: DTypeLike | None = None,
        param_dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        if groups < 1 or in_features % groups or out_features % groups:
            raise ValueError(f"groups={groups} must divide in_features={in_features} and out_features={out_features}")
        self.in_features = in_features
        self.out_features = out_features
        self.stride, self.padding, self.dilation = stride, padding, dilation
        self.groups, self.dtype = groups, dtype
        self.kernel_shape = (out_features, in_features // groups, kernel_size, kernel_size)
        fan_out = kernel_size**2 * out_features // groups
        draw = normal(math.sqrt(2 / fan_out))
        self.weight = nnx.Param(draw(rngs.params(), (num_experts, math.prod(self.kernel_shape)), param_dtype))

    def __call__(self, x: Float[Array, "b h w i"], routing: Float[Array, "b e"]) -> Float[Array, "b oh ow o"]:
        """Convolves each image with its own mixture.

        Args:
            x: images.
            routing: what each expert counts for each image.
        """
        weight = self.weight[...]
        dtype = jnp.result_type(x, weight) if self.dtype is None else self.dtype
        mixed = routing.astype(dtype) @ weight.astype(dtype)
        kernels = mixed.reshape(-1, *self.kernel_shape).transpose(0, 3, 4, 2, 1)

        def convolve(image: Float[Array, "h w i"], kernel: Float[Array, "kh kw i_per_group o"]) -> Array:
            y = conv2d(
                image[None],
                kernel,
                stride=self.stride,
                padding=self.padding,
                dilation=self.dilation,
                groups=self.groups,
            )
            return y[0]

        def one_by_one(images: Array, kernels: Array) -> Array:
            return jax.lax.map(lambda pair: convolve(*pair), (images, kernels))

        # Batched, it is one grouped convolution. On a CPU one image fills all cores, and the gradient of a batch of
        # depthwise kernels takes ten times as long as one after the other.
        y: Array = jax.lax.platform_dependent(x.astype(dtype), kernels, cpu=one_by_one, default=jax.vmap(convolve))
        return y
