"""The parts of a report's page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxvision.evaluation import plots
from jaxvision.evaluation.album import Album
from jaxvision.evaluation.classification import ClassificationResult
from jaxvision.evaluation.comparison import comparison_table
from jaxvision.evaluation.history import History
from jaxvision.evaluation.html import Markup, join, tag
from jaxvision.evaluation.tables import Cell, Table
from jaxvision.paths import flatten

MOST_ROWS = 40  # of a table on the page; the files hold all


@dataclass(frozen=True)
class Section:
    """A part of the page: its anchor, its heading and what it holds."""

    anchor: str
    title: str
    body: Markup


def scrolled(table: Markup) -> Markup:
    """A table that may be wider than the page."""
    return tag("div", table, class_="scroll")


def hint(text: str) -> Markup:
    """A sentence on how to read what follows."""
    return tag("p", text, class_="hint")


def rows_table(rows: Sequence[Mapping[str, Cell]], header: Mapping[str, str]) -> Table:
    """Dicts as a table, under the given headings."""
    return Table(list(header.values()), [[row[key] for key in header] for row in rows])


def settings_section(settings: Mapping[str, Any]) -> list[Section]:
    """What was run."""
    if not settings:
        return []
    shown = [(name, _setting(value)) for name, value in flatten(settings).items()]
    rows = [tag("div", tag("dt", name), tag("dd", value)) for name, value in shown]
    return [Section("settings", "What was run", tag("dl", join(*rows), class_="settings"))]


def _setting(value: Any) -> str:
    if isinstance(value, str):
        return value or "(empty)"
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    if isinstance(value, list | tuple):
        return ", ".join(_setting(item) for item in value) or "(none)"
    return f"{value:g}" if isinstance(value, float) else str(value)


def history_section(album: Album, history: History | None) -> list[Section]:
    """The curves of the training."""
    if history is None or not any(len(history.curve(f"{part}_loss")[0]) for part in ("train", "val")):
        return []
    if history.skipped:
        album.problems.append(
            "The run's metrics have lines that were cut short, which are missing from the curves: "
            f"{', '.join(str(line) for line in history.skipped[:5])}{', ...' if len(history.skipped) > 5 else ''}."
        )
    parts = [f"{len(history.epochs)} epochs"]
    seconds = history.curve("seconds")[1]
    if len(seconds):
        parts.append(f"{_duration(float(seconds.sum()))} in all")
    speed = history.curve("images_per_second")[1]
    if len(speed):
        parts.append(f"{np.median(speed):.0f} images per second")
    alt = f"Loss and accuracy on training and validation data over {len(history.epochs)} epochs"
    figure = album.figure("curves.png", plots.training_curves(history), alt, "training and validation curves")
    return [Section("training", "Training", join(hint(", ".join(parts) + "."), figure))]


def _duration(seconds: float) -> str:
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def comparison_section(album: Album, results: Mapping[str, ClassificationResult] | None) -> list[Section]:
    """Several results on the same data."""
    if not results:
        return []
    table = comparison_table(results)
    album.text("comparison.csv", table.csv(), "the compared choices, one a row")
    alt = f"Bars of balanced accuracy, macro F1 and recalls of {len(results)} choices"
    figure = album.figure("comparison.png", plots.comparison_bars(results), alt, "the compared choices as bars")
    words = hint("Every choice on the same examples. The highest value of a column is bold.")
    return [Section("comparison", "Choices compared", join(words, scrolled(table.html()), figure))]


def notes_section(notes: Sequence[str]) -> list[Section]:
    """What else a reader should know."""
    if not notes:
        return []
    return [Section("notes", "Notes", tag("ul", join(*(tag("li", note) for note in notes))))]


def files_section(album: Album) -> Section:
    """What lies beside the page."""
    rows = [
        tag("tr", tag("th", tag("a", tag("code", name), href=name), scope="row"), tag("td", what))
        for name, what in album.files.items()
    ]
    return Section("files", "Files", join(hint("Beside this page:"), tag("table", tag("tbody", join(*rows)))))
