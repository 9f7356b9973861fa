"""What a load of weights did, and what did not fit."""

import logging
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from jaxvision.paths import suggestion
from jaxvision.weights.errors import WeightsWarning

_SHOWN = 10
_logger = logging.getLogger(__name__)


class Misfit(NamedTuple):
    """A variable and an entry of the file that go together by name and not by shape or type.

    Attributes:
        name: the variable.
        key: the entry, by its name in the file.
        got: shape of the entry in PyTorch's layout, or its dtype if that is wrong.
        expected: the same of the variable.
    """

    name: str
    key: str
    got: str
    expected: str


@dataclass(frozen=True)
class LoadReport:
    """What became of every variable of the model and of every entry of the file. Print it to read it.

    Every variable is in exactly one of ``loaded``, ``missing``, ``misshapen`` and ``reinitialised``.

    Attributes:
        origin: where the weights came from.
        format: the naming they were in.
        loaded: variables that got their values from the file.
        missing: timm's names of variables for which the file has nothing.
        unused: entries for which the model has nothing.
        misshapen: pairs that do not fit.
        adapted: variables whose values were fitted to the model (input channels, image size), and how.
        dropped: entries left aside on purpose: counters and tables that follow from the configuration, entries of
            skipped variables, and the classifier where the model has none.
        reinitialised: variables left as they were on purpose: skipped ones and new heads.
        empty: variables of an abstract model that have no values after the load; whoever built it must fill them.
        notes: what was opened up inside the file to get at the weights.
        remarks: why the model may give other answers than the library that the file is of.
        new_heads: which classifiers stayed as they were with ``reset_head``, and what the file has for them.
    """

    origin: str
    format: str
    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unused: tuple[str, ...]
    misshapen: tuple[Misfit, ...]
    adapted: tuple[str, ...]
    dropped: tuple[str, ...]
    reinitialised: tuple[str, ...]
    empty: tuple[str, ...]
    notes: tuple[str, ...]
    remarks: tuple[str, ...]
    new_heads: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Whether nothing is missing, unused or misshapen."""
        return not (self.missing or self.unused or self.misshapen)

    def tell(self, *, new_heads: bool = True) -> None:
        """For those who keep no report: the worst of it as `WeightsWarning`, all of it to the log at level ``INFO``.

        A warning is placed where the function was called that calls this.

        Args:
            new_heads: warn of new classifiers too, where they were not asked for.
        """
        for text in (*(self.new_heads if new_heads else ()), *self.remarks):
            warnings.warn(f"{self.origin}: {text}", WeightsWarning, stacklevel=3)
        _logger.info("%s", self)

    def problems(self) -> str:
        """What is missing, unused or misshapen, one a line; empty if nothing is."""
        return "\n".join(
            _section("missing in the file", _hinted(self.missing, self.unused))
            + _section("unused, the model has no such variable", _hinted(self.unused, self.missing))
            + _section(
                "of another shape or type", [f"{m.key}: got {m.got}, expected {m.expected}" for m in self.misshapen]
            )
        )

    def __str__(self) -> str:
        lines = [
            f"{len(self.loaded)} variables loaded from {self.origin} ({self.format} names)",
            self.problems(),
            *_section("fitted to the model", self.adapted),
            *_section("left as they were", self.reinitialised),
            *_section("without values", self.empty),
            *_section("dropped", _grouped(self.dropped), len(self.dropped)),
            *(f"  note: {note}" for note in (*self.notes, *self.new_heads, *self.remarks)),
        ]
        return "\n".join(line for line in lines if line)


def _section(title: str, items: Sequence[str], count: int | None = None) -> list[str]:
    if not items:
        return []
    lines = [f"  {len(items) if count is None else count} {title}:", *(f"    {item}" for item in items[:_SHOWN])]
    return lines if len(items) <= _SHOWN else [*lines, f"    ... and {len(items) - _SHOWN} more"]


def _hinted(names: Sequence[str], others: Sequence[str]) -> list[str]:
    """The names, those that will be shown with the nearest of the others."""
    return [f"{name}{suggestion(name, others, count=1)}" for name in names[:_SHOWN]] + list(names[_SHOWN:])


def _grouped(names: Sequence[str]) -> list[str]:
    """The names, with those that differ in indices only as one with stars."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(re.sub(r"(?<=\.)\d+(?=\.)", "*", name), []).append(name)
    return [found[0] if len(found) == 1 else f"{group} ({len(found)} times)" for group, found in groups.items()]
