"""NumPy archives."""

from pathlib import Path

import ml_dtypes
import numpy as np

from jaxvision.weights.errors import FormatError
from jaxvision.weights.formats.contents import Contents


def read_npz(path: Path) -> Contents:
    """Reads an ``.npz``, without pickled objects.

    NumPy writes bfloat16 as two bytes without a meaning (``|V2``), which is taken for that.

    Raises:
        FormatError: it is corrupt, or has arrays of Python objects.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            return Contents({name: _with_type(archive[name]) for name in archive.files})
    except Exception as error:  # numpy documents no list of what a corrupt file raises, and parses headers as Python
        raise FormatError(f"the archive is truncated or corrupt, or holds Python objects ({error})") from error


def _with_type(array: np.ndarray) -> np.ndarray:
    return array.view(ml_dtypes.bfloat16) if array.dtype == np.dtype("V2") else array
