"""Namings of weights. A new one is a module here with a `Source`, and a place in ``SOURCES``."""

from collections.abc import Collection

from jaxvision.paths import suggestion
from jaxvision.weights.errors import WeightsError
from jaxvision.weights.sources.aimv2 import AIMV2
from jaxvision.weights.sources.beit3 import BEIT3
from jaxvision.weights.sources.deit3 import DEIT3
from jaxvision.weights.sources.dino import DINO
from jaxvision.weights.sources.dinov2 import DINOV2
from jaxvision.weights.sources.google_bit import GOOGLE_BIT
from jaxvision.weights.sources.google_vit import GOOGLE_VIT
from jaxvision.weights.sources.jaxvision import JAXVISION
from jaxvision.weights.sources.lukemelas import LUKEMELAS
from jaxvision.weights.sources.mae import MAE
from jaxvision.weights.sources.microsoft_swin import MICROSOFT_SWIN
from jaxvision.weights.sources.open_clip import OPEN_CLIP
from jaxvision.weights.sources.openai_clip import OPENAI_CLIP
from jaxvision.weights.sources.radio import RADIO
from jaxvision.weights.sources.source import Source
from jaxvision.weights.sources.timm import TIMM
from jaxvision.weights.sources.torchvision import TORCHVISION
from jaxvision.weights.sources.transformers import TRANSFORMERS

__all__ = ["SOURCES", "Source", "find_source"]

SOURCES = {
    source.name: source
    for source in (
        TIMM,
        JAXVISION,
        TORCHVISION,
        TRANSFORMERS,
        GOOGLE_VIT,
        GOOGLE_BIT,
        MICROSOFT_SWIN,
        DEIT3,
        DINO,
        DINOV2,
        MAE,
        OPENAI_CLIP,
        OPEN_CLIP,
        AIMV2,
        BEIT3,
        RADIO,
        LUKEMELAS,
    )
}
"""Every source by name. No two recognise the same file."""

_SHOWN = 6  # keys of a file, in a message


def find_source(name: str | None, keys: Collection[str]) -> Source:
    """The source of a name, or if that is None the one that recognises the keys.

    Raises:
        WeightsError: there is no source of this name; or none recognises the keys, or more than one.
    """
    if name is None:
        return _recognised(keys)
    if name not in SOURCES:
        known = ", ".join(map(repr, SOURCES))
        near = suggestion(name, SOURCES, count=1) or ";"
        raise WeightsError(f"unknown format {name!r}{near} there are {known}, and None to detect it")
    return SOURCES[name]


def _recognised(keys: Collection[str]) -> Source:
    found = [source for source in SOURCES.values() if source.recognises(keys)]
    if len(found) == 1:
        return found[0]
    if found:
        names = " or ".join(repr(source.name) for source in found)
        raise WeightsError(f"the names could be those of several sources: say which with format={names}")
    first = [f"    {key}" for key in list(keys)[:_SHOWN]] or ["    (none)"]
    more = [f"    ... and {len(keys) - _SHOWN} more"] if len(keys) > _SHOWN else []
    known = [f"    {source.name + ':':<16}{' or '.join(source.marks)} ({source.title})" for source in SOURCES.values()]
    raise WeightsError(
        "\n".join(
            [
                "no source recognises the names in it; format= forces one, such as format='timm' for timm's names",
                "  its names:",
                *first,
                *more,
                "  what tells a source:",
                *known,
            ]
        )
    )
