"""Every example's prediction as CSV."""

import csv
import io
from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Float, Int, Shaped

_MOST_CLASSES = 100  # a thousand columns for fifty thousand examples would be half a gigabyte
_BEST = 5


def classification_csv(
    names: Sequence[str],
    labels: Int[np.ndarray, " n"],
    probabilities: Float[np.ndarray, "n k"],
    predicted: Int[np.ndarray, " n"],
    class_names: Sequence[str],
) -> str:
    """``name, label, predicted`` and ``p_<class>`` for each class.

    Of more than 100 classes only the five most probable: ``top1, p_top1, top2, ...``.
    """
    if len(class_names) <= _MOST_CLASSES:
        header = [f"p_{name}" for name in class_names]
        cells = [[f"{p:.6g}" for p in row] for row in probabilities.tolist()]
    else:
        header = [column for place in range(1, _BEST + 1) for column in (f"top{place}", f"p_top{place}")]
        order = np.argsort(-probabilities, axis=1, kind="stable")[:, :_BEST]
        cells = [
            [cell for c in best for cell in (class_names[c], f"{row[c]:.6g}")]
            for best, row in zip(order.tolist(), probabilities, strict=True)
        ]
    rows = (
        [name, class_names[label], class_names[said], *row]
        for name, label, said, row in zip(names, labels.tolist(), predicted.tolist(), cells, strict=True)
    )
    return _csv(["name", "label", "predicted", *header], rows)


def multilabel_csv(
    names: Sequence[str],
    labels: Shaped[np.ndarray, "n k"],
    probabilities: Float[np.ndarray, "n k"],
    class_names: Sequence[str],
) -> str:
    """``name``, then ``label_<class>`` and ``p_<class>`` for each class."""
    header = ["name", *(f"label_{name}" for name in class_names), *(f"p_{name}" for name in class_names)]
    rows = (
        [name, *(int(value) for value in label), *(f"{p:.6g}" for p in row)]
        for name, label, row in zip(names, labels.tolist(), probabilities.tolist(), strict=True)
    )
    return _csv(header, rows)


def regression_csv(
    names: Sequence[str],
    targets: Float[np.ndarray, "n d"],
    predictions: Float[np.ndarray, "n d"],
    target_names: Sequence[str],
) -> str:
    """``name``, then ``<target>`` and ``predicted_<target>`` for each target."""
    header = ["name", *target_names, *(f"predicted_{name}" for name in target_names)]
    rows = (
        [name, *(f"{value:.9g}" for value in (*true, *said))]
        for name, true, said in zip(names, targets.tolist(), predictions.tolist(), strict=True)
    )
    return _csv(header, rows)


def _csv(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return stream.getvalue()
