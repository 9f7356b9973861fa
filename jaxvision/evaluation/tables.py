"""One table, as text, HTML or CSV."""

import csv
import io
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from jaxvision.evaluation.html import Markup, join, tag

Cell = str | int | float | None
_LARGE = 1e5  # from here on a number's decimals would only hide its size


@dataclass(frozen=True)
class Table:
    """Rows under a header.

    Attributes:
        header: names of the columns.
        rows: cells; None is a value that does not exist, ``""`` a place where none belongs.
        digits: decimals of floats (CSV has all of them).
        best: columns whose highest number is emphasised.
        foot: how many of the last rows are set apart, such as averages.
        lowest: columns whose lowest number is emphasised.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    digits: int = 3
    best: Collection[int] = ()
    foot: int = 0
    lowest: Collection[int] = ()

    def text(self) -> str:
        """Aligned columns for a terminal; the best of a column has an asterisk."""
        marks = self._marks()
        lines = [list(self.header)]
        for r, row in enumerate(self.rows):
            lines.append([self._show(cell) + ("*" if (r, c) in marks else "") for c, cell in enumerate(row)])
        marked = {c for _, c in marks}  # digits stay under digits, marked or not
        lines = [
            [f"{cell} " if c in marked and not cell.endswith("*") else cell for c, cell in enumerate(line)]
            for line in lines
        ]
        widths = [max(len(line[c]) for line in lines) for c in range(len(self.header))]
        numeric = [self._is_numeric(c) for c in range(len(self.header))]
        padded = [
            "  ".join(
                cell.rjust(width) if right else cell.ljust(width)
                for cell, width, right in zip(line, widths, numeric, strict=True)
            ).rstrip()
            for line in lines
        ]
        return "\n".join([padded[0], "  ".join("-" * width for width in widths), *padded[1:], ""])

    def html(self, caption: str | None = None) -> Markup:
        """A table element."""
        marks = self._marks()
        kinds = ["number" if self._is_numeric(c) else None for c in range(len(self.header))]
        heads = [tag("th", name, scope="col", class_=kind) for name, kind in zip(self.header, kinds, strict=True)]

        def line(r: int) -> Markup:
            cells = []
            for c, cell in enumerate(self.rows[r]):
                shown = self._show(cell)
                content = tag("strong", shown) if (r, c) in marks else shown
                cells.append(tag("th", content, scope="row") if c == 0 else tag("td", content, class_=kinds[c]))
            return tag("tr", *cells)

        split = len(self.rows) - self.foot
        return tag(
            "table",
            *([tag("caption", caption)] if caption else []),
            tag("thead", tag("tr", *heads)),
            tag("tbody", join(*(line(r) for r in range(split)))),
            *([tag("tfoot", join(*(line(r) for r in range(split, len(self.rows)))))] if self.foot else []),
        )

    def csv(self) -> str:
        """Comma-separated values, floats in full; an empty field is a value that does not exist."""
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(self.header)
        writer.writerows(self.rows)
        return stream.getvalue()

    def _show(self, cell: Cell) -> str:
        if cell is None:
            return "-"
        if not isinstance(cell, float):
            return str(cell)
        return f"{cell:.{self.digits}f}" if abs(cell) < _LARGE else f"{cell:.3g}"

    def _is_numeric(self, column: int) -> bool:
        return column > 0 and not any(isinstance(row[column], str) and row[column] for row in self.rows)

    def _marks(self) -> set[tuple[int, int]]:
        """The emphasised cells: equals on the shown digits share the mark; a column where all are equal has none."""
        marks = set()
        for column, choose in (*((c, max) for c in self.best), *((c, min) for c in self.lowest)):
            shown = [round(cell, self.digits) if isinstance(cell, int | float) else None
                     for cell in (row[column] for row in self.rows)]  # fmt: skip
            known = {value for value in shown if value is not None}
            if len(known) > 1:
                marks |= {(r, column) for r, value in enumerate(shown) if value == choose(known)}
        return marks
