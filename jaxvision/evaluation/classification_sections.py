"""The parts of a report on a classifier."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from jaxvision.evaluation import plots
from jaxvision.evaluation.album import Album
from jaxvision.evaluation.calibration import reliability
from jaxvision.evaluation.classification import ClassificationResult, predicted_classes
from jaxvision.evaluation.classification_report import classification_report_text
from jaxvision.evaluation.examples import most_uncertain, worst_mistakes
from jaxvision.evaluation.html import Markup, join, quoted, tag
from jaxvision.evaluation.sections import MOST_ROWS, Section, hint, scrolled
from jaxvision.evaluation.tables import Cell, Table
from jaxvision.evaluation.threshold import OperatingPoint, Threshold, operating_point

_HEADER = ("class", "precision", "recall", "F1", "support")
_PAIRS = 10


def classification_sections(
    album: Album,
    result: ClassificationResult,
    names: Sequence[str],
    labels: Int[np.ndarray, " n"],
    probabilities: Float[np.ndarray, "n k"],
    threshold: Threshold | None,
) -> list[Section]:
    """Classes, confusion, ranking, threshold, calibration, mistakes and uncertain examples."""
    predicted = predicted_classes(probabilities, result.threshold)
    return [
        _classes(album, result),
        _confusion(album, result),
        *_ranking(album, result, labels, probabilities),
        *_threshold(album, result, labels, probabilities, threshold),
        _calibration(album, labels, probabilities),
        *_examples(album, result, names, labels, probabilities, predicted),
    ]


def _classes(album: Album, result: ClassificationResult) -> Section:
    every: list[tuple[Cell, ...]] = [(s.name, s.precision, s.recall, s.f1, s.support) for s in result.per_class]
    album.text("classification_report.txt", classification_report_text(result), "the table of classes as text")
    album.text("per_class.csv", Table(_HEADER, every).csv(), "precision, recall, F1 and support of each class")
    shown, words = every, ""
    if len(every) > MOST_ROWS:
        shown = sorted(every, key=lambda row: row[2] if isinstance(row[2], float) else 2.0)[:MOST_ROWS]
        words = f"The {MOST_ROWS} classes with the lowest recall of {len(every)}; per_class.csv has all."
    foot: list[tuple[Cell, ...]] = [("accuracy", "", "", result.accuracy, result.count)]
    foot += [(s.name, s.precision, s.recall, s.f1, s.support) for s in (result.macro, result.weighted)]
    table = scrolled(Table(_HEADER, shown + foot, foot=len(foot)).html())
    parts: list[str] = [hint(words)] if words else []
    parts.append(table)
    if len(every) > 2:
        alt = "Bars of the recall of each class, lowest first, with 95 % intervals"
        parts.append(album.figure("recall.png", plots.recall_bars(result), alt, "recall of each class"))
    return Section("classes", "Classes", join(*parts))


def _confusion(album: Album, result: ClassificationResult) -> Section:
    names = result.class_names
    cells: list[list[Cell]] = [[name, *row] for name, row in zip(names, result.confusion_matrix.tolist(), strict=True)]
    description = "examples by true class (rows) and predicted class (columns)"
    album.text("confusion_matrix.csv", Table(("true", *names), cells).csv(), description)
    figure = plots.confusion_matrix(result.confusion_matrix, names)
    alt = f"Confusion matrix of {len(names)} classes: the share of each true class by predicted class"
    body: Markup = album.figure("confusion_matrix.png", figure, alt, "the confusion matrix as a picture")
    if len(names) > 2:
        body = join(body, _confused_pairs(result))
    return Section("confusion", "Confusion matrix", body)


def _confused_pairs(result: ClassificationResult) -> Markup:
    wrong = result.confusion_matrix.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:_PAIRS]
    rows = []
    for true, said in zip(*np.unravel_index(order, wrong.shape), strict=True):
        if count := int(wrong[true, said]):
            share = count / result.per_class[true].support
            rows.append((result.class_names[true], result.class_names[said], count, share))
    if not rows:
        return hint("No example is confused.")
    table = Table(("true", "predicted as", "examples", "share of the true class"), rows)
    return join(tag("h3", "Most frequent confusions"), scrolled(table.html()))


def _ranking(album: Album, result: ClassificationResult, labels: np.ndarray, p: np.ndarray) -> list[Section]:
    """ROC and precision-recall curves, where some class has examples and counterexamples."""
    k = len(result.class_names)
    roc = plots.roc_curves(labels, p, result.class_names, result.threshold)
    pr = plots.precision_recall_curves(labels, p, result.class_names, result.threshold)
    if roc is None or pr is None:
        return []
    which = f"of {result.class_names[1]}" if k == 2 else "of each class against the rest"
    parts: list[str] = [hint("The ten classes with the lowest recall, each against the rest.")] if k > 10 else []
    figures = (
        album.figure("roc.png", roc, f"ROC curves {which}", "ROC curves"),
        album.figure("precision_recall.png", pr, f"Precision against recall {which}", "precision-recall curves"),
    )
    parts.append(tag("div", *figures, class_="pair"))
    return [Section("ranking", "Ranking", join(*parts))]


def _threshold(
    album: Album, result: ClassificationResult, labels: np.ndarray, p: np.ndarray, threshold: Threshold | None
) -> list[Section]:
    if threshold is None:
        return []
    positive, scores = result.class_names[1], p[:, 1]
    points = [
        ("validation data", threshold.value, threshold.achieved),
        ("this data", threshold.value, operating_point(labels, scores, threshold.value)),
        ("this data", 0.5, operating_point(labels, scores, 0.5)),
    ]
    table = Table(
        ("", "threshold", "precision", "recall", "specificity", "F1", "balanced accuracy", "missed", "false alarms"),
        [(name, value, *_rates(point), point.fn, point.fp) for name, value, point in points],
    )
    words = (
        f"{quoted(positive)} is predicted from a probability of {threshold.value:.4g} on. The threshold was chosen on "
        f"validation data by the criterion {quoted(threshold.criterion)}, and then applied to the data of this report."
    )
    figure = album.figure(
        "threshold.png",
        plots.threshold_curves(labels, scores, threshold.value, positive),
        f"Precision, recall and F1 of {positive} against the threshold; {threshold.value:.3g} is marked",
        "precision, recall and F1 at every threshold",
        "On the data of this report.",
    )
    return [Section("threshold", "Decision threshold", join(tag("p", words), scrolled(table.html()), figure))]


def _rates(point: OperatingPoint) -> tuple[float | None, ...]:
    return point.precision, point.recall, point.specificity, point.f1, point.balanced_accuracy


def _calibration(album: Album, labels: np.ndarray, p: np.ndarray) -> Section:
    bins = reliability(labels, p)
    words = (
        "Of the examples predicted with a confidence of 0.8, 0.8 should be right. A point below the diagonal promises "
        "too much, one above it too little."
    )
    alt = f"Reliability diagram: accuracy against confidence in 15 bins; expected calibration error {bins.ece:.3f}"
    figure = album.figure("reliability.png", plots.reliability_diagram(bins), alt, "confidence against accuracy")
    return Section("calibration", "Calibration", join(hint(words), figure))


def _examples(
    album: Album,
    result: ClassificationResult,
    names: Sequence[str],
    labels: np.ndarray,
    p: np.ndarray,
    predicted: np.ndarray,
) -> list[Section]:
    worst = worst_mistakes(names, labels, p, predicted, result.class_names)
    wrong = int((labels != predicted).sum())
    if worst:
        words = f"The most confident of {wrong} wrong predictions. Bars: probabilities; the true class is green."
        cards = join(hint(words), album.examples("mistakes.png", worst, "the most confident mistakes"))
    else:
        cards = hint("Every example is predicted correctly.")
    near = most_uncertain(names, labels, p, predicted, result.class_names, result.threshold)
    words = (
        "The examples whose two most probable classes are nearest to each other."
        if result.threshold is None
        else f"The examples whose probability is nearest to the threshold, {result.threshold:.4g}."
    )
    uncertain = join(hint(words), album.examples("uncertain.png", near, "the most uncertain examples"))
    return [Section("mistakes", "Worst mistakes", cards), Section("uncertain", "Most uncertain", uncertain)]
