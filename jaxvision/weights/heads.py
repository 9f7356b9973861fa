"""Which classifiers of a model stay as they are because the file has none for them."""

from collections.abc import Collection, Mapping
from typing import NamedTuple

from flax import nnx

Shapes = Mapping[str, tuple[int, ...]]


class OtherHead(NamedTuple):
    """What a file has where the model has a classifier.

    Attributes:
        description: a clause that says it.
        num_classes: with which a model would take the file as it is; None where that is not the difference.
    """

    description: str
    num_classes: int | None


def other_heads(model: nnx.Module, ours: Shapes, theirs: Shapes) -> dict[str, OtherHead]:
    """The classifiers for which a file has nothing, or another one on purpose.

    That is a whole one for another number of classes, which sees the channels that this network gives; or a linear one
    where the model's has hidden layers. Part of a classifier, a misspelt or a misshapen one may be a damaged file, and
    is left to be reported as that; so are two classifiers of which one fits.

    Args:
        model: whose ``classifiers`` it is about; its ``head_widths`` are the channels that they may see.
        ours: of the model's variables.
        theirs: of the file's entries, in the model's names and layouts.

    Returns:
        For the path of each what the file has instead; for all of the model's or for none.
    """
    widths = getattr(model, "head_widths", ())
    found = {
        head: _other(_below(head, ours), _below(head, theirs), widths) for head in getattr(model, "classifiers", ())
    }
    others = {head: other for head, other in found.items() if other is not None}
    return others if len(others) == len(found) else {}


def _below(head: str, shapes: Shapes) -> Shapes:
    return {name.removeprefix(f"{head}."): shape for name, shape in shapes.items() if name.startswith(f"{head}.")}


def _other(ours: Shapes, theirs: Shapes, widths: Collection[int]) -> OtherHead | None:
    if not theirs:
        return OtherHead("the file has no classifier", 0)
    if theirs.keys() == {"kernel", "bias"} and ours.keys().isdisjoint(theirs):
        seen = set(theirs["kernel"][-2:-1]) & set(widths)
        return OtherHead("the file's classifier is a linear layer", None) if seen else None
    classes = _other_classes(ours, theirs, widths)
    return None if classes is None else OtherHead(f"the file's classifier is for {classes} classes", classes)


def _other_classes(ours: Shapes, theirs: Shapes, widths: Collection[int]) -> int | None:
    """For how many classes a file's classifier is if that is all in which it differs, or None.

    It then differs in one layer, in the last axis of all its variables. A linear one may also see what another pooling
    of the same network gives.
    """
    if not ours.keys() <= theirs.keys():
        return None
    differing = [name for name in ours if theirs[name] != ours[name]]
    layers = {_layer(name) for name in differing}
    last = [name for name in ours if _layer(name) in layers]
    counts = {theirs[name][-1:] for name in last}
    if len(layers) != 1 or len(counts) != 1 or differing != last:
        return None
    (count,) = counts
    fits = all(theirs[name][:-1] in _inputs(name, ours[name], widths) for name in last)
    return count[0] if fits and count else None


def _inputs(name: str, shape: tuple[int, ...], widths: Collection[int]) -> list[tuple[int, ...]]:
    """What may come before the last axis of a variable."""
    return [shape[:-1], *((*shape[:-2], width) for width in widths if name == "kernel")]


def _layer(name: str) -> str:
    return name.rpartition(".")[0]
