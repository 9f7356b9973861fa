"""Which pictures uncertainty is tuned on, and which others it is measured on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from jaxvision.data.dataset import ImageDataset
from jaxvision.data.sources import ALL
from jaxvision.data.sources.options import canonical_split
from jaxvision.data.splits import split
from jaxvision.training.config import ConfigError

_DIVIDED = "one half of it tunes, and the other is what the numbers are measured on"


@dataclass(frozen=True)
class HoldOut:
    """Disjoint pictures, none of which the network was trained on.

    Attributes:
        tuning: rate and scale are chosen on them.
        test: the numbers are measured on them.
        conformal: quantiles are taken of them; None where no conformal prediction is asked for.
        sentence: where they come from.
    """

    tuning: ImageDataset
    test: ImageDataset
    conformal: ImageDataset | None
    sentence: str


def hold_out(
    known: Mapping[str, ImageDataset],
    find: Callable[[str], ImageDataset],
    *,
    tuning: str | None = None,
    test: str | None = None,
    conformal: bool = False,
    seed: int = 0,
) -> HoldOut:
    """Chooses the splits: the validation split to tune on, the test split to measure on.

    Without a test split the validation split (or data that are not divided) is divided into halves. Divisions are drawn
    class by class, and by groups where there are any.

    Args:
        known: splits by name.
        find: gives a split of another name.
        tuning: name of the split to tune on. Default: val, else data that are not divided.
        test: name of the split to measure on. Default: test.
        conformal: set aside half of what tunes for conformal prediction, whose guarantee needs rows that were used for
            nothing else.
        seed: of divisions.

    Raises:
        ConfigError: there is nothing to tune on, or it is what is to be measured on.
        DatasetError: there is no such split, or it is too small to be divided.
    """

    def canonical(name: str | None) -> str | None:
        return None if name is None else name if name in known else canonical_split(name) or name

    tuned, measured = canonical(tuning), canonical(test)
    tuned = tuned or next((name for name in ("val", ALL) if name in known), None)
    if tuned is None:
        raise ConfigError(
            f"there are no validation data to tune the uncertainty on, only {_listed(known)}: name a split that the "
            "network was not trained on by --val-split"
        )
    if tuned == measured:
        raise ConfigError(
            f"the split {measured!r} is the one to tune on, and numbers measured on the same pictures would flatter: "
            f"leave out --split ({_DIVIDED}), or name another split to tune on by --val-split"
        )
    if measured is None and "test" in known and tuned != "test":
        measured = "test"

    def named(name: str) -> ImageDataset:
        return known[name] if name in known else find(name)

    chosen = named(tuned)
    if measured is not None:
        held, sentence = (chosen, named(measured)), f"Tuned on the split {tuned!r}, measured on {measured!r}."
    else:
        parts = split(chosen, {"test": 0.5}, seed=seed)
        held, sentence = (parts["train"], parts["test"]), f"The split {tuned!r} was divided: {_DIVIDED}."
    if tuned == "train":
        sentence += (
            " Tuned on training data, where errors are smaller than elsewhere: the result is too sure of itself."
        )
    if not conformal:
        return HoldOut(*held, None, sentence)
    parts = split(held[0], {"conformal": 0.5}, seed=seed + 1)
    sentence += " Half of what tunes was set aside for conformal prediction."
    return HoldOut(parts["train"], held[1], parts["conformal"], sentence)


def _listed(known: Mapping[str, ImageDataset]) -> str:
    return ", ".join(f"{name!r} ({len(dataset)} pictures)" for name, dataset in known.items())
