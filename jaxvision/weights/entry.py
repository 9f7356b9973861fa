"""An array on its way from a file to a model."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Entry:
    """An array, with the name that it has in the file, for messages."""

    key: str
    array: np.ndarray
