"""Namings of weights. A new one is a module here with a `Source`, and a place in ``SOURCES``."""

from collections.abc import Collection

from jaxvision.paths import suggestion
from jaxvision.weights.errors import WeightsError
from jaxvision.weights.sources.jaxvision import JAXVISION
from jaxvision.weights.sources.lukemelas import LUKEMELAS
from jaxvision.weights.sources.source import Source
from jaxvision.weights.sources.timm import TIMM

__all__ = ["SOURCES", "Source", "find_source"]

SOURCES = {source.name: source for source in (JAXVISION, LUKEMELAS, TIMM)}
"""Every source by name, in the order in which they are asked whether a file is theirs; timm takes all that is left."""


def find_source(name: str | None, keys: Collection[str]) -> Source:
    """The source of a name, or if that is None the one that recognises the keys.

    Raises:
        WeightsError: there is no source of this name.
    """
    if name is None:
        return next(source for source in SOURCES.values() if source.recognises(keys))
    if name not in SOURCES:
        known = ", ".join(map(repr, SOURCES))
        near = suggestion(name, SOURCES) or ";"
        raise WeightsError(f"unknown format {name!r}{near} there are {known}, and None to detect it")
    return SOURCES[name]
