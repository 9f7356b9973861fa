"""Heat over a picture."""

import numpy as np
from jaxtyping import Array, Float, UInt8
from PIL import Image


def overlay(
    picture: UInt8[np.ndarray, "h w 3"] | UInt8[np.ndarray, "h w"] | Image.Image,
    heat: Float[np.ndarray, "gh gw"] | Float[Array, "gh gw"],
    *,
    alpha: float = 0.5,
    colormap: str = "turbo",
) -> UInt8[np.ndarray, "h w 3"]:
    """Lays a map of heat over a picture.

    Args:
        picture: the pixels, colour or grey.
        heat: of any size, enlarged bilinearly to the picture's; its least value is the cold end of the colours and its
            largest the hot end.
        alpha: share of the heat in the result.
        colormap: matplotlib's name of the colours.

    Raises:
        ValueError: the picture is not of 8-bit pixels, the heat is no finite map, ``alpha`` is no share, or there is no
            such colormap.
        ModuleNotFoundError: matplotlib is not installed; the message says how.
    """
    try:
        import matplotlib
    except ModuleNotFoundError:
        raise ModuleNotFoundError("colours need matplotlib: `pip install 'jaxvision-zoo[plots]'`") from None

    pixels, values = np.asarray(picture), np.asarray(heat, np.float32)
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[-1] not in (1, 3)):
        raise ValueError(f"expected a picture of 8-bit pixels, grey or RGB, got {pixels.shape} of {pixels.dtype}")
    if values.ndim != 2 or not np.isfinite(values).all():
        raise ValueError(f"expected a finite map of heat (height, width), got {values.shape}")
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha is a share from 0 to 1, got {alpha}")
    if colormap not in matplotlib.colormaps:
        raise ValueError(
            f"unknown colormap {colormap!r}; matplotlib has {', '.join(sorted(matplotlib.colormaps)[:8])}, ..."
        )
    colour = np.repeat(
        pixels.reshape(*pixels.shape[:2], -1), 3 // (1 if pixels.ndim == 2 else pixels.shape[-1]), axis=-1
    )
    enlarged = Image.fromarray(values).resize(colour.shape[1::-1], Image.Resampling.BILINEAR)
    span = values.max() - values.min()
    shares = np.clip((np.asarray(enlarged) - values.min()) / (span or 1), 0, 1)
    hot = matplotlib.colormaps[colormap](shares)[..., :3] * 255
    return np.rint((1 - alpha) * colour + alpha * hot).astype(np.uint8)
