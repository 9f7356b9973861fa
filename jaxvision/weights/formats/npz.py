"""NumPy archives."""

from pathlib import Path

import numpy as np

from jaxvision.weights.errors import FormatError
from jaxvision.weights.formats.contents import Contents


def read_npz(path: Path) -> Contents:
    """Reads an ``.npz``, without pickled objects.

    Raises:
        FormatError: it is corrupt, or has arrays of Python objects.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            return Contents({name: archive[name] for name in archive.files})
    except Exception as error:  # numpy documents no list of what a corrupt file raises, and parses headers as Python
        raise FormatError(f"the archive is truncated or corrupt, or holds Python objects ({error})") from error
