"""A CSV file that names pictures and labels: columns ``file`` and ``label``, if need be ``split`` and ``group``."""

import csv
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxvision.data.dataset import DatasetError, ImageDataset
from jaxvision.data.sources.files import FileDataset
from jaxvision.data.sources.naming import groups_from_names, listing, natural_key
from jaxvision.data.sources.options import ALL, SourceOptions, canonical_split
from jaxvision.paths import suggestion

_SEPARATOR = re.compile(r"[|;]")  # between the labels of one picture


def open_splits(file: Path, options: SourceOptions) -> dict[str, ImageDataset]:
    """The splits that a CSV file names; `ALL` if it has no such column.

    Files are relative to the CSV file. Classes are in natural order, and the same in all splits. Several labels for
    one picture are separated by ``|`` or ``;``, or are zeros and ones in several columns named by the classes.

    Raises:
        DatasetError: a column, a cell or a file is missing, a file comes twice, or a label is not what it should be.
    """
    table = _read(file)
    names = table.column(options.file_column or "file", "file_column")
    _check_files(table, names)
    labels, class_names = _labels(table, options)

    groups = None
    if options.group_by in table.columns or (options.group_by is None and "group" in table.columns):
        groups = np.array(table.column(options.group_by or "group", "group_by", filled=True), dtype=np.str_)
    elif options.group_by is not None:
        groups = groups_from_names(names, options.group_by, table.columns)

    members: dict[str, list[int]] = {}
    if options.split_column is not None or "split" in table.columns:
        for index, name in enumerate(table.column(options.split_column or "split", "split_column", filled=True)):
            members.setdefault(canonical_split(name) or name, []).append(index)
    else:
        members[ALL] = list(range(len(names)))
    if class_names and labels.ndim == 1 and not options.class_names and not options.allow_empty:
        _check_classes(table, labels, class_names, members)
    return {
        split: FileDataset(
            str(file.parent),
            [names[index] for index in indices],
            labels[indices],
            class_names,
            None if groups is None else groups[indices],
        )
        for split, indices in members.items()
    }


@dataclass(frozen=True)
class _Table:
    file: Path
    columns: list[str]
    rows: list[list[str]]
    lines: list[int]
    """The line of the file that each row ends on."""

    def column(self, name: str, option: str, *, filled: bool = False) -> list[str]:
        """The cells of a column; ``option`` is what chooses another one."""
        if name not in self.columns:
            raise DatasetError(
                f"{str(self.file)!r} has no column {name!r}, it has {listing(self.columns, 12)}: name the right one "
                f"with {option}{suggestion(name, self.columns)}"
            )
        position = self.columns.index(name)
        cells = [row[position] for row in self.rows]
        if filled and "" in cells:
            raise self.error(cells.index(""), f"nothing in the column {name!r}", "fill it in every row")
        return cells

    def error(self, row: int, problem: str, remedy: str) -> DatasetError:
        return DatasetError(f"line {self.lines[row]} of {str(self.file)!r} has {problem}: {remedy}")


def _read(file: Path) -> _Table:
    table = _Table(file, [], [], [])
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            delimiter = max(",;\t", key=stream.readline().count)
            stream.seek(0)
            reader = csv.reader(stream, delimiter=delimiter, strict=True)
            for row in reader:
                cells = [cell.strip() for cell in row]
                if not any(cells):
                    continue
                if not table.columns:
                    table.columns.extend(cells)
                    continue
                table.rows.append(cells)
                table.lines.append(reader.line_num)
                if len(cells) != len(table.columns):
                    problem = f"{len(cells)} cells, the header {len(table.columns)}"
                    raise table.error(-1, problem, f"put a cell with a {delimiter!r} in it in quotes")
    except OSError as error:
        raise DatasetError(f"cannot read {str(file)!r}: {error.strerror or error}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{str(file)!r} is not a CSV file in UTF-8: {error}") from None
    if not table.rows:
        raise DatasetError(
            f"{str(file)!r} has no rows: expected a header such as file,label and a row for each picture"
        )
    twice = [name for name, count in Counter(table.columns).items() if count > 1]
    if twice:
        raise DatasetError(f"{str(file)!r} has the column {twice[0]!r} twice: rename one")
    return table


def _check_files(table: _Table, names: Sequence[str]) -> None:
    first: dict[str, int] = {}
    for row, name in enumerate(names):
        if name in first:
            raise table.error(
                row,
                f"{name!r} again, first seen on line {table.lines[first[name]]}",
                "name each picture once, several labels as 'a|b'",
            )
        first[name] = row
    missing = [name for name in names if not os.path.isfile(table.file.parent / name)]
    if missing:
        raise DatasetError(
            f"{len(missing)} of the {len(names)} files of {str(table.file)!r} do not exist: {listing(missing)}; "
            f"they are looked for in {str(table.file.parent)!r}"
        )


def _labels(table: _Table, options: SourceOptions) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels as `ImageDataset` promises them, and the class names; none for regression."""
    columns = options.label_column or ("label",)
    cells = [table.column(name, "label_column") for name in columns]
    if options.kind == "regression":
        numbers = np.stack([_numbers(table, name, column) for name, column in zip(columns, cells, strict=True)], axis=1)
        return (numbers[:, 0] if len(columns) == 1 else numbers), ()
    if len(columns) > 1:
        if options.kind == "multiclass":
            raise DatasetError(f"one class for each picture needs one label column, got {listing(columns)}")
        return _indicators(table, columns, cells, options)
    several = options.kind == "multilabel"
    if options.kind is None:
        several = any(_SEPARATOR.search(cell) for cell in cells[0])
    if several:
        named = [[part.strip() for part in _SEPARATOR.split(cell) if part.strip()] for cell in cells[0]]
    else:
        _refuse_fractions(cells[0], options)
        named = [[cell] for cell in table.column(columns[0], "label_column", filled=True)]
    class_names = options.class_names or tuple(sorted({part for parts in named for part in parts}, key=natural_key))
    number = {name: index for index, name in enumerate(class_names)}
    hot = np.zeros((len(named), len(class_names)), np.float32) if several else None
    labels = np.zeros(len(named), np.int32)
    for row, parts in enumerate(named):
        for part in parts:
            if part not in number:
                problem = f"the class {part!r}, which is not among the {len(class_names)} expected"
                raise table.error(row, problem, "correct it, or the class names" + suggestion(part, class_names))
            labels[row] = number[part]
            if hot is not None:
                hot[row, number[part]] = 1
    return (labels if hot is None else hot), class_names


def _indicators(
    table: _Table, columns: Sequence[str], cells: Sequence[Sequence[str]], options: SourceOptions
) -> tuple[np.ndarray, tuple[str, ...]]:
    """One column of zeros and ones for each class."""
    if options.class_names and tuple(columns) != tuple(options.class_names):
        raise DatasetError(f"the label columns {listing(columns)} are not the classes {listing(options.class_names)}")
    labels = np.stack([_numbers(table, name, column) for name, column in zip(columns, cells, strict=True)], axis=1)
    wrong = np.argwhere((labels != 0) & (labels != 1))
    if len(wrong):
        row, column = wrong[0]
        problem = f"{cells[column][row]!r} in the column {columns[column]!r}"
        raise table.error(int(row), problem, "expected 0 or 1, or kind='regression'")
    return labels, tuple(columns)


def _numbers(table: _Table, name: str, cells: Sequence[str]) -> np.ndarray:
    numbers = np.zeros(len(cells), np.float32)
    for row, cell in enumerate(cells):
        try:
            numbers[row] = float(cell)
        except ValueError:
            number_is_bad = True
        else:
            number_is_bad = not np.isfinite(numbers[row])
        if number_is_bad:
            raise table.error(row, f"{cell!r} in the column {name!r}", "expected a finite number")
    return numbers


def _refuse_fractions(cells: Sequence[str], options: SourceOptions) -> None:
    """A column of fractions is hardly meant as classes, unless one says so."""
    if options.kind is not None or options.class_names:
        return
    fractions = [cell for cell in cells if re.fullmatch(r"[-+]?\d*\.\d+(e[-+]?\d+)?", cell, re.IGNORECASE)]
    if fractions and all(re.fullmatch(r"[-+]?(\d+|\d*\.\d+)(e[-+]?\d+)?", cell, re.IGNORECASE) for cell in cells):
        raise DatasetError(
            f"the labels are numbers such as {fractions[0]}: say kind='regression', or kind='multiclass' if each "
            "different number is a class"
        )


def _check_classes(
    table: _Table, labels: np.ndarray, class_names: Sequence[str], members: dict[str, list[int]]
) -> None:
    if len(class_names) < 2:
        raise DatasetError(
            f"{str(table.file)!r} has a single class, {class_names[0]!r}: a classifier needs two or more"
        )
    if "train" in members:
        seen = set(labels[members["train"]].tolist())
        untrained = [name for number, name in enumerate(class_names) if number not in seen]
        if untrained:
            raise DatasetError(
                f"{str(table.file)!r} has no picture to train on for the classes {listing(untrained)}: they occur in "
                f"other splits only{suggestion(untrained[0], [class_names[number] for number in seen])}"
            )
