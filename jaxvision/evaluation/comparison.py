"""Several results on the same data, side by side."""

from collections.abc import Mapping

from jaxvision.evaluation.classification import ClassificationResult
from jaxvision.evaluation.tables import Table

_MOST_CLASSES = 8


def comparison_table(results: Mapping[str, ClassificationResult], what: str = "choice") -> Table:
    """One row a result: accuracy, balanced accuracy, macro F1, AUROC and the recall of each class.

    Of more than eight classes only the lowest recall is shown.

    Args:
        results: by the name of the choice they come from, such as ``"class weights"``.
        what: what the choice is called in the header.

    Raises:
        ValueError: no result, or results of different classes or numbers of examples.
    """
    check_comparable(results)
    names = next(iter(results.values())).class_names
    recalls = [f"recall {name}" for name in names] if len(names) <= _MOST_CLASSES else ["lowest recall"]
    rows = []
    for choice, result in results.items():
        known = [scores.recall for scores in result.per_class if scores.recall is not None]
        recall = [s.recall for s in result.per_class] if len(names) <= _MOST_CLASSES else [min(known)]
        rows.append((choice, result.accuracy, result.balanced_accuracy, result.macro.f1, result.auroc, *recall))
    header = (what, "accuracy", "balanced accuracy", "macro F1", "AUROC", *recalls)
    return Table(header, rows, best=range(1, len(header)))


def check_comparable(results: Mapping[str, ClassificationResult]) -> None:
    """Refuses results that were not measured on the same examples.

    Raises:
        ValueError: see `comparison_table`.
    """
    if not results:
        raise ValueError("there is nothing to compare: give at least one result")
    first_name, first = next(iter(results.items()))
    for name, result in results.items():
        if result.class_names != first.class_names:
            raise ValueError(f"{name!r} has other classes than {first_name!r}: {result.class_names}")
        if [s.support for s in result.per_class] != [s.support for s in first.per_class]:
            raise ValueError(f"{name!r} was measured on other examples than {first_name!r}: the supports differ")
