"""What a naming of weights has to tell about itself."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxvision.weights.entry import Entry


def _no_objection(_config: Any) -> None:
    return None


@dataclass(frozen=True)
class Source:
    """A naming of weights, and the way from there to timm's names and PyTorch's layouts.

    Attributes:
        name: what users call it (``format=``).
        recognises: whether a file with these keys is named so.
        to_timm: ``to_timm(weights, variables)`` gives every entry with timm's name for it, or its own where it is not
            known; ``variables`` are the names of the model's variables (`jaxvision.paths.named_variables`).
        objection: why weights of this source would be wrong in a model of this config although they fit, or None.
    """

    name: str
    recognises: Callable[[Collection[str]], bool]
    to_timm: Callable[[Mapping[str, np.ndarray], Collection[str]], Iterable[tuple[str, Entry]]]
    objection: Callable[[Any], str | None] = _no_objection
