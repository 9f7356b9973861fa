"""From an image to a grid of patch embeddings, and merging patches."""

from typing import Unpack

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from jaxvision.nn.conv import Conv2d
from jaxvision.nn.init import draw_torch_bias, small_normal, torch_linear
from jaxvision.nn.layer_args import LayerArgs
from jaxvision.nn.linear import Linear
from jaxvision.nn.norm import LayerNorm
from jaxvision.nn.position import resize_grid
from jaxvision.nn.rms_norm import NormLayer


def pad_to_multiple(x: Float[Array, "b h w c"], multiple: tuple[int, int]) -> Float[Array, "b H W c"]:
    """Pads zeros below and to the right up to a multiple of ``multiple``."""
    bottom, right = -x.shape[1] % multiple[0], -x.shape[2] % multiple[1]
    return jnp.pad(x, ((0, 0), (0, bottom), (0, right), (0, 0))) if bottom or right else x


class PatchEmbed(nnx.Module):
    """One linear map of every non-overlapping patch, written as a convolution (Dosovitskiy et al. 2021, eq. 1).

    Attributes:
        proj: convolution of kernel and stride ``patch_size``, a side or (height, width).
        norm: norm after it, if ``norm_eps`` is given.
        pad: zeros below and to the right of an image that is not a whole number of patches; else what is left over is
            not seen.
    """

    def __init__(
        self,
        patch_size: int | tuple[int, int],
        in_chans: int,
        embed_dim: int,
        *,
        use_bias: bool = True,
        norm_layer: NormLayer = LayerNorm,
        norm_eps: float | None = None,
        pad: bool = False,
        **layer: Unpack[LayerArgs],
    ):
        self.patch_size = (patch_size, patch_size) if isinstance(patch_size, int) else patch_size
        self.pad = pad
        self.proj = Conv2d(
            in_chans,
            embed_dim,
            patch_size,
            stride=patch_size,
            use_bias=use_bias,
            kernel_init=torch_linear,
            **layer,
        )
        draw_torch_bias(self.proj, layer["rngs"])
        self.norm = norm_layer(embed_dim, eps=norm_eps, **layer) if norm_eps is not None else None

    def __call__(self, images: Float[Array, "b h w c"]) -> Float[Array, "b gh gw d"]:
        """Embeds the patches."""
        x = self.proj(pad_to_multiple(images, self.patch_size) if self.pad else images)
        return x if self.norm is None else self.norm(x)


class PatchMerging(nnx.Module):
    """Joins each 2x2 neighbourhood into one token of ``out_dim`` channels (Liu et al. 2021, section 3.1)."""

    def __init__(self, dim: int, out_dim: int, *, norm_eps: float = 1e-5, **layer: Unpack[LayerArgs]):
        self.norm = LayerNorm(4 * dim, eps=norm_eps, **layer)
        self.reduction = Linear(4 * dim, out_dim, use_bias=False, kernel_init=small_normal, **layer)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h/2 w/2 d"]:
        """Halves the grid; an odd side is padded."""
        return self.reduction(self.norm(neighbourhoods(x)))


def neighbourhoods(x: Float[Array, "b h w c"]) -> Float[Array, "b h/2 w/2 4c"]:
    """The channels of each 2x2 neighbourhood one after the other; an odd side is padded."""
    x = pad_to_multiple(x, (2, 2))
    batch, height, width, dim = x.shape
    # In the order of the published weights: both rows of the left column, then of the right.
    x = x.reshape(batch, height // 2, 2, width // 2, 2, dim).transpose(0, 1, 3, 4, 2, 5)
    return x.reshape(batch, height // 2, width // 2, 4 * dim)


def resample_patch_embed(
    kernel: Float[np.ndarray, "h w i o"], patch_size: tuple[int, int], interpolation: str = "bicubic"
) -> Float[np.ndarray, "H W i o"]:
    """Makes a patch embedding's kernel one for patches of another size (Beyer et al. 2023, "FlexiViT", section 3.4).

    Its products with resized patches are, as nearly as can be, those of the given kernel with the patches before they
    were resized: it is multiplied by the pseudoinverse of the matrix that resizes a patch. When patches are enlarged
    the products are the same.

    Args:
        kernel: the convolution's kernel.
        patch_size: height and width wanted.
        interpolation: as in `jaxvision.nn.resize_pos_embed`.
    """
    old = kernel.shape[:2]
    if old == patch_size:
        return kernel
    count = old[0] * old[1]
    # Column k of the matrix is the resized patch in which only pixel k was 1.
    units = jnp.eye(count).reshape(1, *old, count)
    resize = np.asarray(
        resize_grid(units, patch_size, "bilinear" if interpolation.startswith("bilinear") else "bicubic")
    )
    inverse = np.linalg.pinv(resize.reshape(-1, count).astype(np.float64))
    resampled = np.tensordot(inverse, kernel.reshape(count, -1).astype(np.float64), axes=(0, 0))
    return resampled.reshape(*patch_size, *kernel.shape[2:]).astype(kernel.dtype)
