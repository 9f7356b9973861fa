"""What a naming of weights has to tell about itself."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from jaxvision.nn.position import PositionFit
from jaxvision.weights.entry import Entry

Weights = Mapping[str, np.ndarray]
Named = tuple[str | None, Entry]


def _nothing(_config: Any, _weights: Weights) -> None:
    return None


@dataclass(frozen=True)
class Source:
    """A naming of weights, and the way from there to timm's names and PyTorch's layouts.

    Attributes:
        name: what users call it (``format=``).
        title: whose files these are, for messages.
        marks: globs; a file is of this source if one of its keys matches one of them,
        unless: and none matches one of these.
        to_timm: ``to_timm(weights, variables)`` gives every entry with timm's name for it, or None where the source
            has no such key; ``variables`` are the names of the model's variables (`jaxvision.paths.named_variables`).
        aside: globs of keys that are known and that no model here has a place for; they are dropped, and reported.
        objection: ``objection(config, weights)`` says why weights of this source would be wrong in a model of this
            config although they fit, or None.
        remark: ``remark(config, weights)`` is what the user should know about the result, or None.
        fit: how position and patch embeddings for another size are resized, where timm has a way of its own for this
            source's files; None for the model's.
    """

    name: str
    title: str
    marks: tuple[str, ...]
    to_timm: Callable[[Weights, Collection[str]], Iterable[Named]]
    unless: tuple[str, ...] = ()
    aside: tuple[str, ...] = ()
    objection: Callable[[Any, Weights], str | None] = _nothing
    remark: Callable[[Any, Weights], str | None] = _nothing
    fit: PositionFit | None = None

    def recognises(self, keys: Collection[str]) -> bool:
        """Whether a file with these keys is named so."""
        return _any_match(self.marks, keys) and not _any_match(self.unless, keys)

    def leaves_aside(self, key: str) -> bool:
        """Whether the key is one that no model here has a place for."""
        return any(fnmatchcase(key, pattern) for pattern in self.aside)


def _any_match(patterns: Iterable[str], keys: Collection[str]) -> bool:
    return any(
        pattern in keys if "*" not in pattern else any(fnmatchcase(key, pattern) for key in keys)
        for pattern in patterns
    )
