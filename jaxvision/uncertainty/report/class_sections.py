"""The parts of a report on a classification's uncertainty."""

from typing import TYPE_CHECKING

import numpy as np

from jaxvision.evaluation.album import Album
from jaxvision.evaluation.calibration import reliability
from jaxvision.evaluation.html import join, quoted, tag
from jaxvision.evaluation.intervals import wilson_interval
from jaxvision.evaluation.sections import Section, hint, scrolled
from jaxvision.evaluation.tables import Cell, Table
from jaxvision.uncertainty import plots
from jaxvision.uncertainty.report.class_findings import DETECTION, KEPT, PLAIN, ClassFindings
from jaxvision.uncertainty.report.files import least_certain, most_certain, most_disputed
from jaxvision.uncertainty.report.tuning_section import tuning_section

if TYPE_CHECKING:
    from jaxvision.uncertainty.calibration import Calibrated

_MEASURES = {
    "accuracy": "accuracy", "nll": "NLL", "brier": "Brier", "ece": "ECE", "ece_equal_mass": "ECE, equal mass",
    "aurc": "AURC", "augrc": "AUGRC",
}  # fmt: skip
_ENTROPY, _INFORMATION = "predictive entropy, nats", "mutual information, nats"
_MOST_SIZES = 12


def class_sections(album: Album, found: ClassFindings, calibration: "Calibrated | None") -> list[Section]:
    """Probabilities, tuning, referral, measures of uncertainty, out of distribution, conformal sets, examples."""
    return [
        *_probabilities(album, found),
        *tuning_section(album, calibration),
        *_referral(album, found),
        _measures(album, found),
        *_outside(album, found),
        *_conformal(found),
        *_examples(album, found),
    ]


def _probabilities(album: Album, found: ClassFindings) -> list[Section]:
    y = found.rows.labels
    if y is None:
        return []
    rows: list[list[Cell]] = [
        [name, *(measured[key] for key in _MEASURES)] for name, measured in found.measured.items()
    ]
    table = Table(("", *_MEASURES.values()), rows, digits=4, best=(1,), lowest=range(2, len(_MEASURES) + 1))
    words = (
        "On the examples of this report. NLL and Brier measure the probabilities, ECE how far confidence and accuracy "
        "are apart, AURC and AUGRC how well the confidence puts right before wrong; lower is better, but for the "
        "accuracy. Only the last row needs passes."
    )
    shown = {name: method for name, method in found.methods.items() if name in (PLAIN, found.main)}
    if found.difference is not None:
        shown = {n: m for n, m in found.methods.items() if n in (*shown, found.difference.other)}
    names = {name: name[:1].upper() + name[1:] for name in shown}
    figure = plots.reliability_comparison({names[n]: reliability(y, method.probs) for n, method in shown.items()})
    alt = f"Reliability diagrams, accuracy against confidence: {', '.join(names.values())}"
    caption = "A point below the diagonal promises too much, one above it too little."
    picture = album.figure("reliability.png", figure, alt, "confidence against accuracy", caption)
    return [Section("probabilities", "Probabilities", join(hint(words), scrolled(table.html()), picture))]


def _referral(album: Album, found: ClassFindings) -> list[Section]:
    if found.rows.labels is None:
        return []
    header = ("share that is kept", *(f"{share:.0%}" for share in KEPT))
    table = Table(header, [[name, *(f"{value:.1%}" for value in values)] for name, values in found.kept.items()])
    words = "Accuracy of the surest examples, if the others are sent to a person."
    scores = found.rows.scores()
    curves = {name: scores[name] for name in ("confidence", "mutual information")}
    figure = plots.error_coverage(found.wrong.astype(np.float64), curves)
    alt = "Risk-coverage curves: the error of the surest examples over their share"
    picture = album.figure("risk_coverage.png", figure, alt, "error of the surest examples over their share")
    return [Section("referral", "Asking a person", join(hint(words), scrolled(table.html()), picture))]


def _measures(album: Album, found: ClassFindings) -> Section:
    rows = found.rows
    labelled = rows.labels is not None
    keys = {"mean": "mean"}
    if labelled:
        keys |= {"mean_right": "mean where right", "mean_wrong": "mean where wrong", "auroc": "AUROC of wrong",
                 "aurc": "AURC", "e_aurc": "E-AURC"}  # fmt: skip
    cells: list[list[Cell]] = [
        [_label(name), *(numbers[key] for key in keys)] for name, numbers in found.scores.items()
    ]
    table = Table(
        ("", *keys.values()), cells, digits=4, best=(4,) if labelled else (), lowest=(5, 6) if labelled else ()
    )
    words = (
        "Predictive entropy is the whole uncertainty. Expected entropy is what single passes are unsure of "
        "(aleatoric), mutual information what they disagree on (epistemic), in nats; the two add up to the first. The "
        "variation ratio is the share of passes outside the majority."
    )
    if labelled:
        words += " AUROC is the chance that a wrong prediction is ranked as less sure than a right one."
    groups = {"right": ~found.wrong, "wrong": found.wrong} if labelled else {"examples": np.ones(len(rows.probs), bool)}
    panels = {
        quantity: {name: values[group] for name, group in groups.items()}
        for quantity, values in ((_ENTROPY, rows.entropy), (_INFORMATION, rows.mutual_information))
    }
    alt = f"Histograms of predictive entropy and mutual information of {' and '.join(groups)} predictions"
    picture = album.figure(
        "entropy.png", plots.uncertainty_histograms(panels, _titles(found)), alt, "histograms of the uncertainty"
    )
    flips = int(rows.flipped.sum())
    known = f"The network without dropout names another class in {flips} of {len(rows.probs)} cases."
    if flips and rows.labels is not None:
        plain = rows.plain.argmax(axis=1)
        gained = int((rows.flipped & (rows.predicted == rows.labels)).sum())
        lost = int((rows.flipped & (plain == rows.labels)).sum())
        known += f" Of these, dropout puts {gained} right and {lost} wrong."
    error = (
        f"From {rows.num_samples} passes, the probability of the predicted class is known to "
        f"± {rows.standard_error.mean():.4f} on average, ± {rows.standard_error.max():.4f} at worst (standard errors); "
        "four times the passes halve that."
    )
    body = join(hint(words), scrolled(table.html()), picture, tag("p", known), tag("p", error))
    return Section("measures", "Measures of uncertainty", body)


def _titles(found: ClassFindings) -> dict[str, str]:
    pairs = ((_ENTROPY, "predictive entropy"), (_INFORMATION, "mutual information"))
    values = {label: found.scores[score].get("auroc") for label, score in pairs}
    return {label: f"AUROC of wrong {value:.3f}" for label, value in values.items() if value is not None}


def _label(score: str) -> str:
    """The confidence is a score of uncertainty only when taken from one."""
    return score.replace("confidence", "1 - confidence") if score.startswith("confidence") else score


def _outside(album: Album, found: ClassFindings) -> list[Section]:
    if found.outside is None:
        return []
    name, beyond = found.outside
    cells: list[list[Cell]] = [
        [_label(score), *(numbers[key] for key in DETECTION)] for score, numbers in found.detection.items()
    ]
    table = Table(("", *DETECTION.values()), cells, best=(1, 2), lowest=(3,))
    words = (
        f"How well each score tells {len(beyond.probs)} examples of {quoted(name)} (positive) from the "
        f"{len(found.rows.probs)} of this report. Always saying {quoted(name)} has an AUPR of "
        f"{len(beyond.probs) / (len(beyond.probs) + len(found.rows.probs)):.3f}."
    )
    panels = {
        quantity: {"these examples": ours, name: theirs}
        for quantity, ours, theirs in (
            (_ENTROPY, found.rows.entropy, beyond.entropy),
            (_INFORMATION, found.rows.mutual_information, beyond.mutual_information),
        )
    }
    pairs = ((_ENTROPY, "predictive entropy"), (_INFORMATION, "mutual information"))
    titles = {label: f"AUROC {found.detection[score]['auroc']:.3f}" for label, score in pairs}
    figure = plots.uncertainty_histograms(panels, titles)
    alt = f"Histograms of predictive entropy and mutual information of these examples and of {name}"
    picture = album.figure(
        "out_of_distribution.png", figure, alt, "the uncertainty of in- and out-of-distribution data"
    )
    return [Section("outside", "Out of distribution", join(hint(words), scrolled(table.html()), picture))]


def _conformal(found: ClassFindings) -> list[Section]:
    if found.sets is None:
        return []
    sizes, y = found.sets.sum(axis=1), found.rows.labels
    held = None if y is None else found.sets[np.arange(len(y)), y]
    rows: list[list[Cell]] = []
    for size in np.unique(sizes)[:_MOST_SIZES].tolist():
        group = sizes == size
        line: list[Cell] = [str(size), int(group.sum())]
        rows.append(line if held is None else [*line, f"{held[group].mean():.1%}"])
    header = ("classes in the set", "examples", *(() if held is None else ("hold the truth",)))
    words = (
        f"Made to hold the true class in {1 - found.conformal['alpha']:.0%} of all cases, over all examples together."
    )
    if held is not None:
        low, high = (float(end) for end in wilson_interval(int(held.sum()), len(held)))
        words += f" Here they do in {held.mean():.1%} (95 % interval {low:.1%} to {high:.1%})."
    if len(np.unique(sizes)) > _MOST_SIZES:
        words += f" The {_MOST_SIZES} smallest sizes; uncertainty.csv has all."
    return [Section("conformal", "Conformal sets", join(hint(words), scrolled(Table(header, rows).html())))]


def _examples(album: Album, found: ClassFindings) -> list[Section]:
    bars = "Bars: probabilities" + ("." if found.rows.labels is None else "; the true class is green.")
    kinds = (
        ("uncertain", "Least certain", least_certain(found), f"The lowest confidence. {bars}"),
        ("disputed", "Most disputed", most_disputed(found),
         f"The highest mutual information: the passes disagree on these. {bars}"),
        ("certain", "Most certain", most_certain(found), f"The highest confidence. {bars}"),
    )  # fmt: skip
    return [
        Section(
            anchor, title, join(hint(words), album.examples(f"{anchor}.png", examples, f"the {title.lower()} examples"))
        )
        for anchor, title, examples, words in kinds
    ]
