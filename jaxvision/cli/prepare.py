"""``jaxvision prepare``: one's own pictures into a few large files."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from jaxvision.cli.errors import CommandError, UsageError
from jaxvision.cli.report import Reporting

if TYPE_CHECKING:
    from rich.progress import Progress
    from rich.table import Table

    from jaxvision.data.prepare import Prepared

COLUMNS = ("split", "class", "pictures")


@dataclass(frozen=True, kw_only=True)
class Command(Reporting):
    """Turn a folder of pictures into ArrayRecord files, which TFDS reads too.

    SOURCE is a folder with one folder for each class (or train, val and test with these in them), a CSV file with the
    columns file and label, or another source of data. The pictures' files are kept byte for byte, in OUT/NAME/1.0.0.
    Those that cannot be read are reported on the standard error; more than --max-unreadable end the command.

    JSON is {"folder", "name", "splits": {split: {"pictures", "megabytes", "classes"}}, "unreadable"}; CSV has the
    columns split, class, pictures.
    """

    source: Annotated[str, tyro.conf.Positional]
    """Folder or CSV file."""
    out: Annotated[Path, tyro.conf.Positional]
    """Folder for prepared data sets."""
    name: str | None = None
    """Name of the data set. Default: that of the folder or file."""
    max_unreadable: int = 10
    """How many pictures may be left out because they cannot be read."""
    overwrite: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Replace a data set of this name."""
    file_column: str | None = None
    """CSV column with the pictures. Default: file."""
    label_column: tuple[str, ...] = ()
    """CSV column with the labels, or several. Default: label."""
    split_column: str | None = None
    """CSV column with the names of the splits. Default: split, if there is one."""
    group_by: str | None = None
    """CSV column, or regular expression with one group for file names, with what splits must not divide; it is kept
    with the pictures. Default: the column group, if there is one."""
    regression: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """The labels are numbers to be predicted, not classes."""
    allow_empty: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Keep classes without a picture, and go on with a single class."""

    def run(self) -> int:
        """Runs the command."""
        if self.max_unreadable < 0:
            raise UsageError(f"--max-unreadable must be at least 0, got {self.max_unreadable}")
        from jaxvision.data.dataset import DatasetError
        from jaxvision.data.sources import SourceOptions, open_splits

        options = SourceOptions(
            file_column=self.file_column,
            label_column=self.label_column,
            split_column=self.split_column,
            group_by=self.group_by,
            kind="regression" if self.regression else None,
            allow_empty=self.allow_empty,
        )
        try:
            from jaxvision.data.prepare import dataset_name, prepare

            splits = open_splits(self.source, options)
            total = sum(len(dataset) for dataset in splits.values())
            with _progress(total) as bar:
                prepared = prepare(
                    splits,
                    self.out,
                    self.name or dataset_name(self.source),
                    max_unreadable=self.max_unreadable,
                    overwrite=self.overwrite,
                    on_picture=lambda: bar.advance(bar.task_ids[0]),
                )
        except DatasetError as error:
            raise CommandError(str(error)) from None
        except OSError as error:
            raise CommandError(f"cannot write to {str(self.out)!r}: {error}") from None
        for message in prepared.unreadable.values():
            sys.stderr.write(f"jaxvision: left out: {message}\n")
        document = {
            "folder": str(prepared.folder),
            "name": prepared.name,
            "splits": {
                split: {"pictures": one.pictures, "megabytes": one.megabytes, "classes": one.classes}
                for split, one in prepared.splits.items()
            },
            "unreadable": prepared.unreadable,
        }
        self.report(document, list(_rows(prepared)), COLUMNS, _table(prepared))
        return 0


@contextmanager
def _progress(total: int) -> Iterator["Progress"]:
    """A bar on the standard error, if someone is watching."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        bar.add_task("Checking", total=total)
        yield bar


def _rows(prepared: "Prepared") -> Iterator[dict[str, Any]]:
    for split, one in prepared.splits.items():
        for name, count in (one.classes or {"": one.pictures}).items():
            yield {"split": split, "class": name, "pictures": count}


def _table(prepared: "Prepared") -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table("class", *prepared.splits)
    for column in table.columns[1:]:
        column.justify = "right"
    splits = prepared.splits.values()
    for name in dict.fromkeys(name for one in splits for name in one.classes):
        table.add_row(Text(name), *(str(one.classes[name]) for one in splits))
    table.add_section()
    table.add_row("pictures", *(str(one.pictures) for one in splits))
    table.add_row("MB", *(f"{one.megabytes:.1f}" for one in splits))
    whole = Table.grid()
    whole.add_row(table)
    place = f"tfds:{prepared.name} with the data_dir {prepared.folder.parents[1]}"
    whole.add_row(Text(f"written to {prepared.folder}: use this folder as data, or {place}"))
    return whole
