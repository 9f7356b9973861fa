"""``jaxvision models``: what is there?"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from jaxvision.cli.errors import CommandError, UsageError
from jaxvision.cli.report import Reporting

if TYPE_CHECKING:
    from rich.table import Table

    from jaxvision.catalogue import ModelInfo

COLUMNS = (
    "name",
    "family",
    "parameters",
    "bn_statistics",
    "gmacs",
    "classes",
    "input_size",
    "top1",
    "top5",
    "weights",
    "licence",
)


@dataclass(frozen=True, kw_only=True)
class Command(Reporting):
    """List models with their parameters, cost, input size, published accuracy, weights and licence.

    A glob with a dot, such as 'resnet50.*', or --pretrained lists one set of weights a line; else a line is an
    architecture, described with its default weights. JSON is a list of objects with the columns of the CSV.
    """

    pattern: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="GLOB")] = "*"
    """Which names, such as 'vit_*' or 'resnet50.*'; quote it."""
    pretrained: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """One line for each set of published weights."""
    family: str | None = None
    """Only this family, such as vit."""
    sort: Literal["name", "parameters", "gmacs", "top1"] = "name"
    """By what to order the lines, the smallest first; lines that do not have it come last."""
    reverse: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """The largest first."""

    def run(self) -> int:
        """Runs the command."""
        from jaxvision.registry import families, list_models, model_info

        known = {family.name for family in families().values()}
        if self.family is not None and self.family not in known:
            raise UsageError(f"unknown family {self.family!r}: there are {', '.join(sorted(known))}")
        tagged = self.pretrained or "." in self.pattern
        rows = [
            _row(model_info(name), tagged)
            for name in list_models(self.pattern, self.pretrained)
            if self.family in (None, families()[name.split(".")[0]].name)
        ]
        if not rows:
            from jaxvision.paths import suggestion

            everything = list_models("*", pretrained=tagged)
            where = f" in the family {self.family!r}" if self.family else ""
            raise CommandError(f"no model matches {self.pattern!r}{where}{suggestion(self.pattern, everything)}")
        if self.sort != "name":
            known_first = [row for row in rows if row[self.sort] is not None]
            unknown = [row for row in rows if row[self.sort] is None]
            rows = sorted(known_first, key=lambda row: row[self.sort], reverse=self.reverse) + unknown
        elif self.reverse:
            rows.reverse()
        self.report(rows, [row | {"weights": " ".join(row["weights"])} for row in rows], COLUMNS, _table(rows))
        return 0


def _row(info: "ModelInfo", tagged: bool) -> dict[str, Any]:
    """What a line says about an architecture, or (``tagged``) about one set of weights."""
    from jaxvision.catalogue import by_architecture

    tags = [row.tag for row in by_architecture()[info.architecture] if row.tag is not None]
    return {
        "name": info.name if tagged else info.architecture,
        "family": info.family,
        "parameters": info.num_params,
        "bn_statistics": info.num_batch_stats,
        "gmacs": round(info.gmacs, 3),
        "classes": info.num_classes,
        "input_size": "x".join(str(side) for side in info.input_size),
        "top1": info.top1,
        "top5": info.top5,
        "weights": [info.hub_id or info.url] if tagged else tags,
        "licence": info.license,
    }


def _table(rows: Sequence[dict[str, Any]]) -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table("name", "family", "parameters", "GMACs", "input", "classes", "top-1", "weights", "licence")
    table.columns[7].max_width = 60
    for column in table.columns[2:7]:
        column.justify = "right"
    for row in rows:
        _, height, width = row["input_size"].split("x")
        texts = (
            row["name"],
            row["family"],
            f"{row['parameters'] / 1e6:.2f} M",
            f"{row['gmacs']:.2f}",
            height if height == width else f"{height} x {width}",
            str(row["classes"]),
            "-" if row["top1"] is None else f"{row['top1']:.2f}",
            " ".join(row["weights"]) or "-",
            row["licence"] or "-",
        )
        table.add_row(*(Text(text, overflow="fold") for text in texts))
    return table
