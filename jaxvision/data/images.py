"""Reading pictures: whatever Pillow reads becomes an 8-bit RGB (or grey) picture, or an error that names the file."""

import io
import os
from functools import cache
from typing import Literal

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

ImageSource = str | os.PathLike[str] | Image.Image

# Pillow recognises these by their first bytes, but cannot decode them by itself.
_ONLY_RECOGNISED = {"BUFR", "GRIB", "HDF5", "MPEG"}
_SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N", "I")  # Pillow gives 16-bit PGM files the mode "I"


class ImageError(OSError):
    """A picture that cannot be read or used; the message names it and says why."""


@cache
def picture_suffixes() -> frozenset[str]:
    """The lower-case suffixes of the formats that Pillow reads, such as ``".jpg"``."""
    known = Image.registered_extensions()
    return frozenset(suffix for suffix, name in known.items() if name in Image.OPEN and name not in _ONLY_RECOGNISED)


def source_name(source: ImageSource | bytes) -> str:
    """What to call a picture in a message: its path, if it has one."""
    if isinstance(source, bytes):
        return f"picture of {len(source)} bytes"
    if isinstance(source, Image.Image):
        return str(getattr(source, "filename", "") or f"{source.width} x {source.height} picture")
    return os.fspath(source)


def read_image(source: ImageSource | bytes, mode: Literal["RGB", "L"] = "RGB", *, name: str = "") -> Image.Image:
    """Reads a picture, upright and with 8 bits per channel.

    Transparency is dropped without a background, as timm's validation does: the colour stored under a transparent
    pixel is what the network sees. 16-bit grey is scaled to 8 bits. The rotation that a camera wrote into the EXIF
    data is carried out (timm ignores it). An animation gives its first frame.

    Args:
        source: a path, the content of a file, or a Pillow picture (which is left as it is).
        mode: ``"RGB"``, or ``"L"`` for grey.
        name: what to call the picture in a message; by default its path, if it has one.

    Raises:
        ImageError: there is no such file, it is not a picture, it is truncated, corrupt or suspiciously large, or
            its pixels have no known range.
    """
    name = name or source_name(source)
    if isinstance(source, Image.Image):
        return _decode(source, mode, name)
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as picture:
            return _decode(picture, mode, name)
    except ImageError:
        raise
    except UnidentifiedImageError:
        size = len(source) if isinstance(source, bytes) else os.path.getsize(source)
        reason = "is empty" if size == 0 else "is not in a format that Pillow reads"
        raise ImageError(f"{name!r} {reason}: check the file, or convert it to PNG or JPEG") from None
    except Image.DecompressionBombError as error:
        raise ImageError(f"{name!r} is too large: {error}; if you trust it, make it smaller first") from None
    except OSError as error:
        raise ImageError(f"cannot open {name!r}: {error.strerror or error}") from None
    except Exception as error:
        raise ImageError(f"{name!r} is corrupt ({error}): fetch or export it again") from error


def _decode(picture: Image.Image, mode: Literal["RGB", "L"], name: str) -> Image.Image:
    try:
        picture.load()
        picture = ImageOps.exif_transpose(picture)
        return _eight_bits(picture, name).convert(mode)
    except (ImageError, MemoryError):
        raise
    except Exception as error:  # Pillow's decoders raise nearly anything on damaged data
        raise ImageError(f"{name!r} is truncated or corrupt ({error}): fetch or export it again") from error


def _eight_bits(picture: Image.Image, name: str) -> Image.Image:
    """The picture in a mode that Pillow converts to RGB or grey without loss of range or a warning."""
    if picture.mode in _SIXTEEN_BITS:
        values, top = np.asarray(picture).astype(np.int64), 65535
    elif picture.mode == "F":
        values, top = np.asarray(picture).astype(np.float64), 1
    elif picture.mode == "P" and "transparency" in picture.info:
        return picture.convert("RGBA")  # the same colours as straight to RGB, where Pillow warns
    else:
        return picture
    if not (np.all(values >= 0) and np.all(values <= top)):  # also refuses NaN
        low, high = values.min(), values.max()
        raise ImageError(
            f"{name!r} has {picture.mode!r} pixels from {low} to {high}, expected 0 to {top}: convert it to 8 bits"
        )
    return Image.fromarray(np.rint(values * (255 / top)).astype(np.uint8))
