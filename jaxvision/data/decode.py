"""From a record to 8-bit pixels: by OpenCV where it gives Pillow's very pixels faster, by Pillow elsewhere."""

import os
import re
import struct
import zlib
from typing import Literal

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image

from jaxvision.data.images import ImageError, read_image

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_TEXT = (b"tEXt", b"zTXt", b"iTXt")
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF0 .. SOF15 without DHT, JPG and DAC
# 0xFF in the compressed data is followed by a stuffed zero, a restart marker, or a marker of the next scan's headers.
_JPEG_STRAY_MARKER = re.compile(rb"\xff[^\x00\xc4\xd0-\xd7\xd9-\xdd\xfe\xff]")


def decode(
    record: bytes | str | os.PathLike[str] | np.ndarray,
    mode: Literal["RGB", "L"] = "RGB",
    fast: bool = True,
    *,
    name: str = "",
) -> UInt8[np.ndarray, "h w c"]:
    """The upright 8-bit pixels of a record of a data set.

    Args:
        record: the content of a file, its path, or uint8 pixels (h, w, c) or (h, w), which are only brought to the
            mode.
        mode: ``"RGB"`` for three channels, ``"L"`` for one (grey).
        fast: lets OpenCV decode the JPEG and PNG files that it decodes as Pillow does; it takes about three quarters
            of the time. Grey from a colour file may then differ from Pillow's by one level. All other files, such as
            CMYK, 16-bit and transparent palettes, and all damaged ones, are read by `read_image`.
        name: what to call the picture in a message; by default its path, if it has one.

    Returns:
        uint8 pixels. They may be the record's own or read-only: do not write into them.

    Raises:
        ImageError: the picture cannot be read, or the pixels have a wrong type or shape; the message names it.
    """
    if isinstance(record, np.ndarray):
        return _pixels(record, mode, name or f"array of shape {record.shape}")
    if fast:
        if not isinstance(record, bytes):
            name = name or os.fspath(record)
            try:
                with open(record, "rb") as file:
                    record = file.read()
            except OSError as error:
                raise ImageError(f"cannot open {name!r}: {error.strerror or error}") from None
        if _opencv_is_exact(record):
            colour = mode == "RGB" or not _is_grey(record)
            # Damage makes OpenCV return None or raise; Pillow then says what is wrong.
            try:
                picture = cv2.imdecode(
                    np.frombuffer(record, np.uint8), cv2.IMREAD_COLOR if colour else cv2.IMREAD_GRAYSCALE
                )
            except cv2.error:
                picture = None
            if picture is not None:
                if not colour:
                    return picture[..., None]
                if mode == "L":
                    return cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)[..., None]
                return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
    pixels = np.asarray(read_image(record, mode, name=name))
    return pixels if mode == "RGB" else pixels[..., None]


def _pixels(pixels: np.ndarray, mode: Literal["RGB", "L"], name: str) -> UInt8[np.ndarray, "h w c"]:
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[-1] not in (1, 3, 4) or 0 in pixels.shape:
        raise ImageError(
            f"{name!r} is {pixels.dtype} of shape {pixels.shape}, expected uint8 (h, w, c) with 1, 3 or 4 channels"
        )
    if mode == "L" and pixels.shape[-1] != 1:
        return np.asarray(Image.fromarray(np.ascontiguousarray(pixels[..., :3])).convert("L"))[..., None]
    return np.repeat(pixels, 3, axis=-1) if mode == "RGB" and pixels.shape[-1] == 1 else pixels[..., :3]


def _opencv_is_exact(content: bytes) -> bool:
    """Whether OpenCV decodes a file as Pillow does, as its headers tell."""
    if content.startswith(b"\xff\xd8\xff"):
        return _is_plain_jpeg(content)
    return content.startswith(_PNG) and _is_plain_png(content)


def _is_grey(content: bytes) -> bool:
    """Whether a plain JPEG or PNG file stores one channel; what Pillow makes grey, OpenCV then does exactly."""
    if content.startswith(_PNG):
        return content[25] in (0, 4)
    frame = _jpeg_frame(content)
    return frame is not None and frame[2] == 1


def _jpeg_frame(content: bytes) -> tuple[int, int, int, int] | None:
    """(precision, pixels, components, end of this header) of a JPEG file.

    None where it is not found, or where only Pillow carries out the orientation.
    """
    position = 2
    while position + 10 < len(content) and content[position] == 0xFF:
        marker = content[position + 1]
        if marker == 0xFF:  # fill bytes before a marker
            position += 1
            continue
        (length,) = struct.unpack_from(">H", content, position + 2)
        if marker in _JPEG_FRAMES:
            precision, height, width, components = struct.unpack_from(">BHHB", content, position + 4)
            return precision, height * width, components, position + 2 + length
        if marker == 0xE1 and b"Orientation" in content[position : position + 2 + length]:
            return None  # Pillow also follows an orientation that stands in XMP, OpenCV does not
        position += 2 + length
    return None


def _is_plain_jpeg(content: bytes) -> bool:
    """Eight bits, grey or three colours, complete, no stray marker: OpenCV may paint what it cannot decode grey."""
    frame = _jpeg_frame(content)
    if frame is None or not content.rstrip(b"\0").endswith(b"\xff\xd9"):
        return False
    precision, pixels, components, end = frame
    if precision != 8 or components not in (1, 3) or not _is_harmless(pixels):
        return False
    return _JPEG_STRAY_MARKER.search(content, end) is None


def _is_plain_png(content: bytes) -> bool:
    """Eight bits, no transparency to interpret, nothing that turns or animates it, every checksum right."""
    position, kind = len(_PNG), b""
    while position + 12 <= len(content) and kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", content, position)
        data = content[position + 8 : position + 8 + length]
        checksum = content[position + 8 + length : position + 12 + length]
        if checksum != zlib.crc32(data, zlib.crc32(kind)).to_bytes(4, "big"):
            return False
        if kind == b"IHDR" and length == 13:
            width, height, depth, colour = struct.unpack_from(">IIBB", data)
            if depth != 8 or colour not in (0, 2, 6) or not _is_harmless(width * height):
                return False
        elif kind in (b"tRNS", b"eXIf", b"acTL"):
            return False
        elif kind in _PNG_TEXT and data.startswith((b"Raw profile type", b"XML:com.adobe.xmp")):
            return False  # these may carry an orientation
        position += 12 + length
    return kind == b"IEND"


def _is_harmless(pixels: int) -> bool:
    """Whether a picture is smaller than what Pillow warns about; the rest is left to its judgement."""
    return 0 < pixels <= (Image.MAX_IMAGE_PIXELS or np.inf)
