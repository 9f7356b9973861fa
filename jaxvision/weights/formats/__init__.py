"""Readers of weight files, none of which needs PyTorch or runs code from a file.

The format is told from a file's first bytes, not from its suffix: ``.bin`` and ``.pth`` are used for several.
"""

import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from jaxvision.weights.errors import FormatError, WeightsError
from jaxvision.weights.formats.contents import Contents
from jaxvision.weights.formats.npz import read_npz
from jaxvision.weights.formats.safetensors import read_safetensors
from jaxvision.weights.formats.torch import LEGACY_MAGIC, ZIP_ERRORS, read_legacy, read_zip

__all__ = ["SUFFIXES", "Contents", "read_contents", "read_weights", "recognise"]

SUFFIXES = (".safetensors", ".bin", ".pth", ".pt", ".npz")
"""Usual suffixes of weight files, the best format first."""

_HEAD = 512
_IMPOSTORS = (
    (b"version https://git-lfs", "it is a Git LFS pointer, not the file itself; run `git lfs pull` where it came from"),
    (b"<", "it is a web page (an error or a login?), not weights; download it again"),
    (b"{", "it is a JSON file, not weights"),
    (b"\x1f\x8b", "it is compressed with gzip; unpack it first"),
    (b"\x89HDF", "it is an HDF5 file (Keras), which is not read; convert it to safetensors"),
    (b"\x93NUMPY", "it is a single NumPy array without a name; save the weights as .npz or safetensors"),
    (b"\x80", "it is a bare pickle, which could run any code and is not read; save the weights as .npz or safetensors"),
)


def read_weights(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Reads a file of weights: safetensors, PyTorch's ``.pth``/``.pt``/``.bin`` (both of its formats) or ``.npz``.

    PyTorch is not needed and no code in the file is run: a file that asks for anything but tensors and plain data is
    refused. A state_dict inside a training checkpoint is found under its usual keys, averaged weights first.

    Args:
        path: the file.

    Returns:
        Array by name, names and layouts as in the file. The arrays may be read-only and share memory; bfloat16 comes as
        `ml_dtypes.bfloat16`.

    Raises:
        WeightsError: the file cannot be read as weights; the message names it and says why.
        OSError: the file cannot be opened.
    """
    return read_contents(Path(path)).weights


def read_contents(path: Path) -> Contents:
    """`read_weights`, with notes on what was opened up or left aside inside the file."""
    try:
        return recognise(path)(path)
    except FormatError as error:
        raise WeightsError(f"cannot read weights from {path}: {error}") from error


def recognise(path: Path) -> Callable[[Path], Contents]:
    """The reader for a file, told from its first bytes.

    Raises:
        FormatError: it is not a file of weights.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if not head:
        raise FormatError("the file is empty")
    if head.startswith(b"PK"):
        return read_npz if _holds_arrays(path) else read_zip
    if head.startswith(LEGACY_MAGIC):
        return read_legacy
    if head[8:9] == b"{":  # behind the header's length
        return read_safetensors
    for magic, explanation in _IMPOSTORS:
        if head.lstrip().startswith(magic):
            raise FormatError(explanation)
    raise FormatError("it is none of safetensors, PyTorch (zip or legacy) and .npz, or it is corrupt")


def _holds_arrays(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith(".npy") for name in archive.namelist())
    except ZIP_ERRORS as error:
        raise FormatError(f"the archive is truncated or corrupt ({error})") from error
