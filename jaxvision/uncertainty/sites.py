"""The stochastic sites of a network as a table."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

from jaxvision.uncertainty.draw import Outputs, visited
from jaxvision.uncertainty.plan import Plan
from jaxvision.uncertainty.sample import random_part


@dataclass(frozen=True)
class SiteRow:
    """One site.

    Attributes:
        path: of the module.
        mask: what is dropped together.
        at: ``"input"``, ``"output"``, or ``"kernel"``.
        rate: probability of being dropped.
        shape: of what is masked, for one example.
        elements: random numbers for one example.
        calls: how often a pass runs it.
    """

    path: str
    mask: str
    at: str
    rate: float
    shape: tuple[int, ...]
    elements: int
    calls: int


@dataclass(frozen=True)
class Sites:
    """All sites. Printing shows a table.

    Attributes:
        rows: the sites.
        share: estimated share of a pass's floating-point operations that every sample repeats: all from the first site
            on. T samples cost about ``1 - share + T * share`` passes.
    """

    rows: tuple[SiteRow, ...]
    share: float

    def __iter__(self) -> Iterator[SiteRow]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> SiteRow:
        return self.rows[index]

    def __str__(self) -> str:
        head = ("path", "mask", "at", "rate", "shape", "numbers")
        lines = [
            (row.path, row.mask, row.at, f"{row.rate:g}", "x".join(map(str, row.shape)), f"{row.elements:,}")
            for row in self.rows
        ]
        widths = [max(len(line[column]) for line in [head, *lines]) for column in range(len(head))]
        table = [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in [head, *lines]
        ]
        count = f"{len(self.rows)} site{'' if len(self.rows) == 1 else 's'}"
        return "\n".join(
            [*(line.rstrip() for line in table), f"{count}; {self.share:.1%} of a pass is repeated by a sample"]
        )

    def __repr__(self) -> str:
        return str(self)


def make_sites(function: Outputs, plan: Plan, variables: Any, example: Any) -> Sites:
    """Traces a pass for its sites' shapes and its stochastic share."""
    visits = visited(function, plan.sites, variables, example)
    rows = []
    for spec in plan.sites:
        calls = [visit for visit in visits if visit.path == spec.path]
        shape = calls[0].shape if spec.mask == "connect" else calls[0].shape[1:]
        at = "kernel" if spec.mask == "connect" else spec.at
        rows.append(SiteRow(spec.path, spec.mask, at, spec.rate, shape, prod(calls[0].mask), len(calls)))
    return Sites(tuple(rows), random_part(function, plan.active, variables, example).cut.share)
