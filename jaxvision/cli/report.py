"""How commands hand out their results: a table to read, JSON or CSV to go on with."""

import csv
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import tyro

from jaxvision.cli.errors import CommandError

if TYPE_CHECKING:
    from rich.table import Table

_format = tyro.conf.create_mutex_group(required=False, title="output format")
_UNLIMITED = 10_000  # columns: what is not a terminal need not be folded


@dataclass(frozen=True, kw_only=True)
class Reporting:
    """The options of a command whose result is a table."""

    json: Annotated[bool, _format, tyro.conf.FlagCreatePairsOff] = False
    """Write JSON instead of a table."""
    csv: Annotated[bool, _format, tyro.conf.FlagCreatePairsOff] = False
    """Write CSV instead of a table."""
    output: Path | None = None
    """File to write to, instead of the terminal."""

    def report(self, document: Any, rows: Sequence[dict[str, Any]], columns: Sequence[str], table: "Table") -> None:
        """Writes the result in the form asked for.

        Args:
            document: what JSON gets.
            rows: what CSV gets, by column.
            columns: the header of the CSV.
            table: what a reader gets.

        Raises:
            CommandError: the output file cannot be written.
        """
        with self._stream() as stream:
            if self.json:
                json.dump(document, stream, indent=2, ensure_ascii=False, allow_nan=False)
                stream.write("\n")
            elif self.csv:
                writer = csv.DictWriter(stream, columns, lineterminator="\n")
                writer.writeheader()
                writer.writerows(rows)
            else:
                from rich.console import Console

                Console(file=stream, width=None if stream.isatty() else _UNLIMITED).print(table)

    @contextmanager
    def _stream(self) -> Iterator[TextIO]:
        if self.output is None:
            yield sys.stdout
            return
        try:
            self.output.parent.mkdir(parents=True, exist_ok=True)
            # A file name need not be valid Unicode; what is not is written as an escape, which JSON reads back.
            with self.output.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
                yield file
        except OSError as error:
            raise CommandError(f"cannot write {str(self.output)!r}: {error.strerror or error}") from None
