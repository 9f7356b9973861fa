"""The parts of a report on a regression's uncertainty."""

from typing import TYPE_CHECKING

import numpy as np

from jaxvision.evaluation.album import Album
from jaxvision.evaluation.html import join, quoted, tag
from jaxvision.evaluation.sections import Section, hint, scrolled
from jaxvision.evaluation.tables import Cell, Table
from jaxvision.uncertainty import plots
from jaxvision.uncertainty.report.class_findings import DETECTION, KEPT
from jaxvision.uncertainty.report.files import ordered_numbers
from jaxvision.uncertainty.report.number_findings import LEVEL, NumberFindings
from jaxvision.uncertainty.report.tuning_section import tuning_section

if TYPE_CHECKING:
    from jaxvision.uncertainty.calibration import Calibrated

_MEASURES = {
    "nll": "NLL", "rmse": "RMSE", "crps": "CRPS", "picp": f"in {LEVEL:.0%} intervals", "mpiw": "their mean width",
    "miscalibration_area": "miscalibration", "ause": "AUSE",
}  # fmt: skip
_LOWEST = (1, 2, 3, 6, 7)


def number_sections(album: Album, found: NumberFindings, calibration: "Calibrated | None") -> list[Section]:
    """Variances, tuning, referral, parts of the variance, out of distribution, conformal intervals, examples."""
    return [
        *_variances(album, found),
        *tuning_section(album, calibration),
        *_referral(album, found),
        _parts(album, found),
        *_outside(album, found),
        *_conformal(found),
        *_examples(album, found),
    ]


def _variances(album: Album, found: NumberFindings) -> list[Section]:
    rows = found.rows
    if rows.targets is None:
        return []
    cells: list[list[Cell]] = [
        [name, *(measured[key] for key in _MEASURES)] for name, measured in found.measured.items()
    ]
    table = Table(("", *_MEASURES.values()), cells, lowest=_LOWEST)
    words = (
        f"On the examples of this report. NLL and CRPS measure mean and variance together; {LEVEL:.0%} of the true "
        "values should lie in the intervals; miscalibration is the area between promised and observed coverage; AUSE "
        "is how far the order by variance is from that by error. Lower is better, but for the intervals' share."
    )
    parts: list[str] = [hint(words), scrolled(table.html())]
    if len(rows.target_names) > 1:
        cells = [[name, *(measured[key] for key in _MEASURES)] for name, measured in found.per_target.items()]
        target_table = Table(("target", *_MEASURES.values()), cells)
        album.text("per_target.csv", target_table.csv(), "the same for each target")
        parts += [tag("h3", "Each target"), scrolled(target_table.html())]
    pairs = {name: (method.mean, method.variance) for name, method in reversed(tuple(found.methods.items()))}
    coverage = album.figure(
        "coverage.png",
        plots.interval_coverage(rows.targets, pairs),
        "Observed against nominal coverage of central intervals",
        "how much the intervals of each level hold",
    )
    predicted = []
    for i, target in enumerate(rows.target_names):
        figure = plots.predicted_intervals(rows.targets[:, i], rows.mean[:, i], rows.std[:, i], target, LEVEL)
        name = "predicted.png" if len(rows.target_names) == 1 else f"predicted_{i}.png"
        alt = f"Predicted against true {target}, with {LEVEL:.0%} intervals"
        predicted.append(album.figure(name, figure, alt, f"predicted and true {target}, with intervals"))
    parts.append(tag("div", coverage, *predicted, class_="pair"))
    return [Section("variances", "Variances", join(*parts))]


def _referral(album: Album, found: NumberFindings) -> list[Section]:
    rows = found.rows
    if rows.targets is None:
        return []
    header = ("share that is kept", *(f"{share:.0%}" for share in KEPT))
    table = Table(header, [[name, *(f"{value:.4g}" for value in values)] for name, values in found.kept.items()])
    unit = rows.target_names[0] if len(rows.target_names) == 1 else "spreads of the targets"
    words = (
        f"Root of the mean squared error of the examples that are kept, in units of {unit}. The order is that of the "
        "standard deviations, which a common factor does not change."
    )
    figure = plots.sparsification_curve(found.squares, rows.scores()["standard deviation"], unit)
    alt = "The error of the rest as the least certain examples are removed"
    picture = album.figure("sparsification.png", figure, alt, "the error as the least certain are removed")
    return [Section("referral", "Asking a person", join(hint(words), scrolled(table.html()), picture))]


def _parts(album: Album, found: NumberFindings) -> Section:
    rows = found.rows
    parts = {"epistemic": rows.epistemic, **({} if rows.aleatoric is None else {"aleatoric": rows.aleatoric})}
    cells: list[list[Cell]] = [
        [target, *(float(np.sqrt(values[:, i].mean())) for values in parts.values()),
         float(np.sqrt(rows.variance[:, i].mean()))]
        for i, target in enumerate(rows.target_names)
    ]  # fmt: skip
    table = Table(("", *parts, "together"), cells, digits=4)
    words = (
        "Roots of the mean variances. Epistemic is what the passes disagree on, scaled; aleatoric is the noise that is "
        "predicted besides."
    )
    panels = {
        f"standard deviation of {target}": {"examples": rows.std[:, i]}
        for i, target in enumerate(rows.target_names[:3])
    }
    figure = plots.uncertainty_histograms(panels)
    picture = album.figure("std.png", figure, "Histograms of the standard deviations", "the standard deviations")
    count = (
        "The variance over passes is exact (a linear tail), not sampled."
        if rows.num_samples == 0
        else f"From {rows.num_samples} passes, a variance is known to about "
        f"{np.sqrt(2 / max(rows.num_samples - 1, 1)):.0%} (relative standard error; small rates need more)."
    )
    return Section("measures", "Where the variance comes from", join(hint(words), scrolled(table.html()), picture,
                                                                     tag("p", count)))  # fmt: skip


def _outside(album: Album, found: NumberFindings) -> list[Section]:
    if found.outside is None:
        return []
    name, beyond = found.outside
    cells: list[list[Cell]] = [
        [score, *(numbers[key] for key in DETECTION)] for score, numbers in found.detection.items()
    ]
    table = Table(("", *DETECTION.values()), cells, best=(1, 2), lowest=(3,))
    words = (
        f"How well each score tells {len(beyond.mean)} examples of {quoted(name)} (positive) from those of this report."
    )
    ours, theirs = found.rows.scores(), beyond.scores(found.rows.units)
    panels = {score: {"these examples": ours[score], name: theirs[score]} for score in found.detection}
    titles = {score: f"AUROC {numbers['auroc']:.3f}" for score, numbers in found.detection.items()}
    figure = plots.uncertainty_histograms(panels, titles)
    alt = f"Histograms of the standard deviations of these examples and of {name}"
    picture = album.figure(
        "out_of_distribution.png", figure, alt, "the uncertainty of in- and out-of-distribution data"
    )
    return [Section("outside", "Out of distribution", join(hint(words), scrolled(table.html()), picture))]


def _conformal(found: NumberFindings) -> list[Section]:
    if not found.conformal:
        return []
    numbers = found.conformal
    words = f"Made to hold {1 - numbers['alpha']:.0%} of the true values, over all examples together."
    if "coverage" in numbers:
        words += f" Here they hold {numbers['coverage']:.1%}."
    words += f" Their mean width is {numbers['mean_width']:.4g}; uncertainty.csv has each."
    return [Section("conformal", "Conformal intervals", tag("p", words))]


def _examples(album: Album, found: NumberFindings) -> list[Section]:
    score = found.rows.scores()["standard deviation"]
    kinds = [
        ("uncertain", "Least certain", np.argsort(-score, kind="stable"), "The largest standard deviations."),
        ("certain", "Most certain", np.argsort(score, kind="stable"), "The smallest standard deviations."),
    ]
    if found.rows.targets is not None:
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.abs(found.rows.targets - found.rows.mean) / found.rows.std
        worst = np.argsort(-np.nan_to_num(ratio, nan=0.0).max(axis=1), kind="stable")
        words = "The errors that are largest in units of their own predicted standard deviations."
        kinds.append(("surprises", "Surprises", worst, words))
    return [
        Section(
            anchor,
            title,
            join(
                hint(words), album.examples(f"{anchor}.png", ordered_numbers(found, order), f"{title.lower()} examples")
            ),
        )
        for anchor, title, order, words in kinds
    ]
