"""What a reader returns."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Contents:
    """The arrays of a file, by their names in it.

    Attributes:
        weights: name to array; the arrays may be read-only and share memory.
        notes: what was opened up or left aside to get at them, one sentence each.
    """

    weights: dict[str, np.ndarray]
    notes: tuple[str, ...] = ()
