"""Weight standardisation (Qiao et al. 2019, arXiv:1903.10520)."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxvision.nn.conv import Conv2d, conv2d


class StdConv2d(Conv2d):
    """A convolution whose kernel has mean 0 and variance 1 for each output channel (eq. 6).

    Args:
        args, options: as `Conv2d`; ``padding="SAME"`` is TensorFlow's.
        eps: added to the variance of the kernel.
    """

    def __init__(self, *args: Any, eps: float = 1e-6, **options: Any):
        super().__init__(*args, **options)
        self.eps = eps

    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b oh ow o"]:
        """Convolves with the standardised kernel."""
        dtype = jnp.result_type(x, self.kernel[...]) if self.dtype is None else self.dtype
        y = conv2d(
            x.astype(dtype),
            standardise(self.kernel[...], self.eps).astype(dtype),
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
        )
        return y if self.bias is None else y + self.bias[...].astype(dtype)


def standardise(kernel: Float[Array, "kh kw i o"], eps: float) -> Float[Array, "kh kw i o"]:
    """Takes the mean off and divides by the standard deviation, for each output channel; float32 inside."""
    kernel = kernel.astype(jnp.float32)
    centred = kernel - jnp.mean(kernel, (0, 1, 2))
    return centred * jax.lax.rsqrt(jnp.mean(jnp.square(centred), (0, 1, 2)) + eps)
