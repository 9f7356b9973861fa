"""One page that says how good a model is, with the files behind it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from jaxvision.evaluation.album import Album, Pictures
from jaxvision.evaluation.checks import checked_probabilities
from jaxvision.evaluation.classification import ClassificationResult, predicted_classes
from jaxvision.evaluation.classification_sections import classification_sections
from jaxvision.evaluation.history import History
from jaxvision.evaluation.metrics import Result
from jaxvision.evaluation.multilabel import MultilabelResult
from jaxvision.evaluation.other_sections import multilabel_sections, regression_sections
from jaxvision.evaluation.page import counted, page
from jaxvision.evaluation.predictions import classification_csv, multilabel_csv, regression_csv
from jaxvision.evaluation.sections import (
    Section,
    comparison_section,
    files_section,
    history_section,
    notes_section,
    settings_section,
)
from jaxvision.evaluation.summary import cautions, headlines, sentences
from jaxvision.evaluation.threshold import Threshold


def write_report(
    folder: str | Path,
    *,
    title: str,
    result: Result,
    names: Sequence[str],
    labels: Shaped[np.ndarray, " n *k"],
    outputs: Shaped[np.ndarray, " n *k"],
    history: History | None = None,
    pictures: Pictures | None = None,
    settings: Mapping[str, Any] | None = None,
    threshold: Threshold | None = None,
    comparison: Mapping[str, ClassificationResult] | None = None,
    notes: Sequence[str] = (),
) -> Path:
    """Writes ``report.html``, which needs no other file, and beside it PNG, JSON and CSV files.

    Args:
        folder: where to; made if need be. Files of the same names are overwritten.
        title: what was evaluated, as the page's heading.
        result: of `evaluate_classification`, `evaluate_multilabel` or `evaluate_regression`.
        names: a file name or id for each example.
        labels: the labels the result was measured with.
        outputs: the probabilities it was measured with; of a regression, the predicted values.
        history: the training's curves.
        pictures: gives the picture of an example by its index, uint8 of the shape (height, width, channels). It is
            called for the few that are shown; one that cannot be read (`OSError`, `ValueError`) is noted.
        settings: what was run; nested dicts are shown with dotted names.
        threshold: of two classes: how the result's threshold was chosen.
        comparison: results of several choices on the same examples, by name.
        notes: what else a reader should know.

    Returns:
        The path of the page.

    Raises:
        ValueError: the arrays do not fit the result, or the threshold is not the result's.
        OSError: a file cannot be written.
    """
    outputs = np.asarray(outputs)
    labels = np.asarray(labels)
    _check(result, names, labels, outputs, threshold)
    album = Album(folder, pictures)
    before = [*settings_section(settings or {}), *comparison_section(album, comparison)]
    before += history_section(album, history)
    sections = [*before, *_result_sections(album, result, names, labels, outputs, threshold)]
    document = {
        "title": title,
        "result": result.to_json(),
        "threshold": None if threshold is None else threshold.to_json(),
        "comparison": {name: other.to_json() for name, other in (comparison or {}).items()},
        "settings": settings or {},
        "notes": list(notes),
    }
    album.json("metrics.json", document, "every number of this report")
    remarks = [*notes, *cautions(result), *album.problems]
    sections += notes_section(remarks)
    sections.append(files_section(album))
    path = album.folder / "report.html"
    count = counted(result.count, "example", "examples")
    content = page(title, count, headlines(result), [" ".join(sentences(result))], sections)
    path.write_text(content, encoding="utf-8", newline="")
    return path


def _check(
    result: Result, names: Sequence[str], labels: np.ndarray, outputs: np.ndarray, threshold: Threshold | None
) -> None:
    for what, size in (("names", len(names)), ("labels", len(labels)), ("outputs", len(outputs))):
        if size != result.count:
            raise ValueError(f"the result is of {result.count} examples, but there are {size} {what}")
    if threshold is not None and (not isinstance(result, ClassificationResult) or result.threshold != threshold.value):
        raise ValueError(
            f"the result was not measured at the threshold {threshold.value:.4g}: "
            "pass threshold=threshold.value to evaluate_classification"
        )


def _result_sections(
    album: Album,
    result: Result,
    names: Sequence[str],
    labels: np.ndarray,
    outputs: np.ndarray,
    threshold: Threshold | None,
) -> list[Section]:
    """What depends on the kind of task: the predictions' file and the sections on the result."""
    what = "label, prediction and probabilities of every example"
    if isinstance(result, ClassificationResult):
        p = checked_probabilities(outputs)
        y = labels.astype(np.int64)
        predicted = predicted_classes(p, result.threshold)
        album.text("predictions.csv", classification_csv(names, y, p, predicted, result.class_names), what)
        return classification_sections(album, result, names, y, p, threshold)
    if isinstance(result, MultilabelResult):
        album.text("predictions.csv", multilabel_csv(names, labels, outputs, result.class_names), what)
        return multilabel_sections(album, result, names, labels, outputs)
    shape = (result.count, len(result.target_names))
    targets, predictions = labels.astype(np.float64).reshape(shape), outputs.astype(np.float64).reshape(shape)
    what = "true and predicted values of every example"
    album.text("predictions.csv", regression_csv(names, targets, predictions, result.target_names), what)
    return regression_sections(album, result, names, targets, predictions)
