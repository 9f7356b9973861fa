"""Every row as CSV, and the examples worth looking at."""

import csv
import io
from collections.abc import Iterable, Mapping

import numpy as np

from jaxvision.evaluation.examples import Example, class_example
from jaxvision.uncertainty import metrics
from jaxvision.uncertainty.report.class_findings import ClassFindings
from jaxvision.uncertainty.report.number_findings import LEVEL, NumberFindings

_LIMIT = 8


def class_csv(found: ClassFindings) -> str:
    """One row each: name, label (if known), prediction, every measure of uncertainty, the conformal set (if any)."""
    rows = found.rows
    numbers = {
        "confidence": rows.confidence,
        "entropy": rows.entropy,
        "expected_entropy": rows.expected_entropy,
        "mutual_information": rows.mutual_information,
        "variation_ratio": rows.variation_ratio,
        "flip_rate": rows.flip_rate,
        "standard_error": rows.standard_error,
    }
    columns: dict[str, Iterable[object]] = {"name": rows.names}
    if rows.labels is not None:
        columns["label"] = [rows.class_names[label] for label in rows.labels]
    columns["predicted"] = [rows.class_names[said] for said in rows.predicted]
    columns |= {name: _shown(values) for name, values in numbers.items()}
    columns["deterministic_predicted"] = [rows.class_names[said] for said in rows.plain.argmax(axis=1)]
    columns["deterministic_confidence"] = _shown(rows.plain.max(axis=1))
    if found.sets is not None:
        columns["set_size"] = found.sets.sum(axis=1).tolist()
        columns["set"] = [" | ".join(rows.class_names[c] for c in np.flatnonzero(row)) for row in found.sets]
    return _csv(columns)


def number_csv(found: NumberFindings) -> str:
    """One row each: name, and for each target label (if known), mean, variances, standard deviation, interval.

    Of several targets the columns' names start with the target's.
    """
    rows, level = found.rows, round(100 * LEVEL)
    low, high = gaussian_ends(found)
    columns: dict[str, Iterable[object]] = {"name": rows.names}
    for i, target in enumerate(rows.target_names):
        numbers = {
            "label": rows.targets,
            "mean": rows.mean,
            "epistemic": rows.epistemic,
            "aleatoric": rows.aleatoric,
            "std": rows.std,
            f"low_{level}": low,
            f"high_{level}": high,
            "deterministic": rows.deterministic,
        }
        if found.intervals is not None:
            numbers |= {"conformal_low": found.intervals[0], "conformal_high": found.intervals[1]}
        start = "" if len(rows.target_names) == 1 else f"{target}_"
        columns |= {f"{start}{name}": _shown(v[:, i]) for name, v in numbers.items() if v is not None}
    return _csv(columns)


def least_certain(found: ClassFindings) -> list[Example]:
    """The examples with the lowest confidence, the higher entropy first among equals."""
    return _class_examples(found, np.lexsort((-found.rows.entropy, found.rows.confidence)))


def most_certain(found: ClassFindings) -> list[Example]:
    """The examples with the highest confidence, the lower entropy first among equals."""
    return _class_examples(found, np.lexsort((found.rows.entropy, -found.rows.confidence)))


def most_disputed(found: ClassFindings) -> list[Example]:
    """The examples with the highest mutual information: what the passes disagree on."""
    return _class_examples(found, np.argsort(-found.rows.mutual_information, kind="stable"))


def _class_examples(found: ClassFindings, order: np.ndarray) -> list[Example]:
    """The first few rows, one an example."""
    rows = found.rows
    _, first = np.unique(rows.example[order], return_index=True)
    chosen = order[np.sort(first)[:_LIMIT]]
    return [
        class_example(
            int(rows.example[i]),
            rows.names[i],
            None if rows.labels is None else int(rows.labels[i]),
            rows.probs[i],
            int(rows.predicted[i]),
            rows.class_names,
            [
                ("entropy", f"{rows.entropy[i]:.3f} nats"),
                ("MI", f"{rows.mutual_information[i]:.3f} nats"),
                ("flips", f"{rows.flip_rate[i]:.0%} of passes"),
            ],
        )
        for i in chosen
    ]


def ordered_numbers(found: NumberFindings, order: np.ndarray) -> list[Example]:
    """The first few examples of an order, with their intervals."""
    rows = found.rows
    low, high = gaussian_ends(found)
    return [
        Example(
            int(i),
            rows.names[i],
            None if rows.targets is None else _listed(rows.targets[i]),
            _listed(rows.mean[i]),
            facts=(
                ("std", _listed(rows.std[i], 3)),
                (f"{LEVEL:.0%} in", ", ".join(f"{a:.4g} to {b:.4g}" for a, b in zip(low[i], high[i], strict=True))),
            ),
        )
        for i in order[:_LIMIT]
    ]


def gaussian_ends(found: NumberFindings) -> tuple[np.ndarray, np.ndarray]:
    """The ends of the central interval of each row and target."""
    low, high = metrics.gaussian_interval(found.rows.mean, found.rows.variance, level=LEVEL)
    return np.asarray(low), np.asarray(high)


def _listed(values: np.ndarray, digits: int = 4) -> str:
    return ", ".join(f"{value:.{digits}g}" for value in values)


def _shown(values: np.ndarray) -> list[str]:
    return [f"{value:.7g}" for value in values.tolist()]


def _csv(columns: Mapping[str, Iterable[object]]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return stream.getvalue()
