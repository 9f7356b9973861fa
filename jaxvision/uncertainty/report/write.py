"""The report as files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Shaped

from jaxvision.evaluation.album import Album, Pictures
from jaxvision.evaluation.page import counted, page
from jaxvision.evaluation.sections import files_section, notes_section, settings_section
from jaxvision.paths import suggestion
from jaxvision.uncertainty.conformal import ConformalIntervals, ConformalSets
from jaxvision.uncertainty.report.class_findings import class_findings
from jaxvision.uncertainty.report.class_sections import class_sections
from jaxvision.uncertainty.report.class_words import class_headlines, class_summary
from jaxvision.uncertainty.report.files import class_csv, number_csv
from jaxvision.uncertainty.report.number_findings import number_findings
from jaxvision.uncertainty.report.number_sections import number_sections
from jaxvision.uncertainty.report.number_words import number_headlines, number_summary
from jaxvision.uncertainty.report.rows import class_rows, number_rows
from jaxvision.uncertainty.results import ClassificationPrediction, Prediction, RegressionPrediction

if TYPE_CHECKING:
    from jaxvision.uncertainty.calibration import Calibrated

_CLASSES = ("classification", "multiclass", "binary", "multilabel")
_NUMBERS = ("regression", "heteroscedastic")
_MEANING = (
    "The passes drop random parts of a network that was trained without that (Ledda, Fumera and Roli 2023). They "
    "measure how sensitive its answer is. That is a heuristic, not a Bayesian posterior.",
    "Low uncertainty is no proof of being right. Far from the training data the uncertainty need not grow: what the "
    "network has never seen can look familiar to it.",
    "Calibration holds for data like those it was tuned on. Measure again when the source of the pictures changes.",
)
_UNTUNED = (
    "No calibration was given: dropout in a network that was trained without it says where the answer is sensitive, "
    "not by how much it is wrong. Tune on validation data to give the numbers a scale."
)


def write_uncertainty_report(
    folder: str | Path,
    *,
    title: str,
    task: str,
    names: Sequence[str],
    class_names: Sequence[str],
    labels: Shaped[np.ndarray, " n *k"] | None,
    prediction: Prediction,
    calibration: "Calibrated | None" = None,
    settings: Mapping[str, Any] | None = None,
    pictures: Pictures | None = None,
    out_of_distribution: tuple[str, Prediction] | None = None,
    notes: Sequence[str] = (),
    conformal: ConformalSets | ConformalIntervals | None = None,
) -> Path:
    """Writes ``report.html``, which needs no other file, and beside it PNG, JSON and CSV files.

    ``uncertainty.json`` has every number, ``uncertainty.csv`` a row for each example (of a multi-label task for each
    example and label).

    Args:
        folder: where to; made if need be. Files of the same names are overwritten.
        title: what was measured, as the page's heading.
        task: ``"classification"`` (or ``"multiclass"``), ``"binary"``, ``"multilabel"``, ``"regression"`` or
            ``"heteroscedastic"``.
        names: a file name or id for each example.
        class_names: of the classes or labels; of a regression, of its targets, which may be left empty.
        labels: the truth, class numbers or numbers; None where it is not known: then only the uncertainty is shown.
        prediction: of the examples, of ``calibration`` if that is given. Not of the rows it was tuned on.
        calibration: how rate and scale were chosen. Its baselines are measured on the same examples.
        settings: what was run; nested dicts are shown with dotted names.
        pictures: gives the picture of an example by its index, uint8 of the shape (height, width, channels). It is
            called for the few that are shown; one that cannot be read (`OSError`, `ValueError`) is noted.
        out_of_distribution: name and prediction of examples that the network should not know.
        notes: what else a reader should know.
        conformal: sets or intervals, fitted on other rows.

    Returns:
        The path of the page.

    Raises:
        ValueError: an unknown task, arrays that do not fit one another or the task, dense outputs, or numbers that are
            not finite.
        OSError: a file cannot be written.
    """
    _check(task, prediction, out_of_distribution)
    given = list(names)
    if isinstance(prediction, ClassificationPrediction):
        rows = class_rows(task, given, class_names, labels, prediction)
        outside = None
        if out_of_distribution is not None and isinstance(out_of_distribution[1], ClassificationPrediction):
            beyond = out_of_distribution[1]
            outside = out_of_distribution[0], class_rows(task, _numbered(beyond.probs), class_names, None, beyond)
        found = class_findings(rows, calibration, outside, conformal)
        album = Album(folder, pictures)
        first, table = settings_section(settings or {}), class_csv(found)
        sections = [*first, *class_sections(album, found, calibration)]
        headlines, summary, document = class_headlines(found), class_summary(found), found.to_json()
    else:
        numbers = number_rows(given, class_names, labels, prediction)
        beyond_numbers = None
        if out_of_distribution is not None and isinstance(out_of_distribution[1], RegressionPrediction):
            strange = out_of_distribution[1]
            strangers = number_rows(_numbered(strange.mean), numbers.target_names, None, strange)
            beyond_numbers = out_of_distribution[0], strangers
        measured = number_findings(numbers, calibration, beyond_numbers, conformal)
        album = Album(folder, pictures)
        first, table = settings_section(settings or {}), number_csv(measured)
        sections = [*first, *number_sections(album, measured, calibration)]
        headlines, summary, document = number_headlines(measured), number_summary(measured), measured.to_json()
    remarks = [*notes, *_MEANING, *([_UNTUNED] if calibration is None else []), *album.problems]
    everything = {
        "title": title,
        "task": task,
        "result": document,
        "calibration": None if calibration is None else _without_sketch(calibration.to_json()),
        "settings": settings or {},
        "notes": [*notes],
    }
    album.json("uncertainty.json", everything, "every number of this report")
    album.text("uncertainty.csv", table, "the uncertainty of every example")
    sections += [*notes_section(remarks), files_section(album)]
    path = album.folder / "report.html"
    content = page(title, counted(len(given), "example", "examples"), headlines, summary, sections)
    path.write_text(content, encoding="utf-8", newline="")
    return path


def _check(task: str, prediction: Prediction, out_of_distribution: tuple[str, Prediction] | None) -> None:
    known = (*_CLASSES, *_NUMBERS)
    if task not in known:
        raise ValueError(f"unknown task {task!r}{suggestion(task, known)}; there are {', '.join(known)}")
    kind = ClassificationPrediction if task in _CLASSES else RegressionPrediction
    others = [] if out_of_distribution is None else [("out_of_distribution", out_of_distribution[1])]
    for what, given in (("prediction", prediction), *others):
        if not isinstance(given, kind):
            raise ValueError(f"a report on {task} needs a {kind.__name__}; {what} is a {type(given).__name__}")


def _without_sketch(document: dict[str, Any]) -> dict[str, Any]:
    """The hashes of the tuning rows are of no use to a reader."""
    return {key: value for key, value in document.items() if key != "sketch"}


def _numbered(values: Any) -> list[str]:
    return [str(i) for i in range(len(values))]
