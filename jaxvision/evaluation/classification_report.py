"""The table everybody knows, in scikit-learn's layout."""

from jaxvision.evaluation.classification import ClassificationResult, ClassScores

_HEADERS = ("precision", "recall", "f1-score", "support")


def classification_report_text(result: ClassificationResult, digits: int = 2) -> str:
    """Precision, recall, F1 and support of each class, then accuracy and averages.

    To the character what `sklearn.metrics.classification_report` prints, but for classes without examples: what is
    undefined for them is a dash, and they do not count as zeros in the macro average.

    Args:
        result: a result.
        digits: decimals.
    """
    width = max(len("weighted avg"), *(len(name) for name in result.class_names))

    def line(scores: ClassScores) -> str:
        numbers = (_number(value, digits) for value in (scores.precision, scores.recall, scores.f1))
        return f"{scores.name:>{width}s} " + "".join(f" {cell:>9}" for cell in (*numbers, scores.support))

    accuracy = f"{'accuracy':>{width}s} " + f" {'':>9}" * 2 + f" {result.accuracy:>9.{digits}f} {result.count:>9}"
    return "\n".join([
        " " * width + " " + "".join(f" {header:>9}" for header in _HEADERS),
        "",
        *(line(scores) for scores in result.per_class),
        "",
        accuracy,
        line(result.macro),
        line(result.weighted),
        "",
    ])  # fmt: skip


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
