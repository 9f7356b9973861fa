"""Blurring before subsampling (Zhang 2019, "Making convolutional networks shift-invariant again")."""

import math

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from jaxvision.nn.conv import conv2d


class BlurPool2d(nnx.Module):
    """A binomial filter, then every ``stride``-th pixel. It has no parameters.

    Args:
        channels: of the input.
        filt_size: pixels of the filter's side, such as 3 for (1, 2, 1) / 4 in each direction.
        stride: of the subsampling.
        pad_mode: ``"reflect"`` the border, or ``"constant"`` for zeros around it, as timm's ``blurpc`` has.

    Raises:
        ValueError: a filter of fewer than two pixels, or an unknown ``pad_mode``.
    """

    def __init__(self, channels: int, filt_size: int = 3, stride: int = 2, *, pad_mode: str = "reflect"):
        if filt_size < 2:
            raise ValueError(f"filt_size is {filt_size}, expected at least 2: one pixel does not blur")
        if pad_mode not in ("reflect", "constant"):
            raise ValueError(f"pad_mode is {pad_mode!r}, expected 'reflect' or 'constant'")
        self.channels = channels
        self.filt_size = filt_size
        self.stride = stride
        self.pad_mode = pad_mode

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b H W c"]:
        """Blurs and subsamples.

        Raises:
            ValueError: an image too small to be reflected, or of another number of channels.
        """
        pad = (self.stride - 1 + self.filt_size - 1) // 2
        side = np.array([math.comb(self.filt_size - 1, k) for k in range(self.filt_size)], np.float32)
        side = side / side.sum()
        kernel = np.broadcast_to(np.outer(side, side)[..., None, None], (*2 * (self.filt_size,), 1, self.channels))
        if self.pad_mode == "reflect":
            if min(x.shape[1:3]) <= pad:
                raise ValueError(f"an image of {x.shape[1]}x{x.shape[2]} pixels cannot be reflected by {pad}")
            x, pad = jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode="reflect"), 0
        return conv2d(x, jnp.asarray(kernel, x.dtype), stride=self.stride, padding=pad, groups=self.channels)
