"""A result in a few numbers and sentences."""

from dataclasses import dataclass

from jaxvision.evaluation.classification import ClassificationResult
from jaxvision.evaluation.html import quoted
from jaxvision.evaluation.metrics import Result
from jaxvision.evaluation.multilabel import MultilabelResult

_FEW = 30  # examples, below which a class's recall is hardly known


@dataclass(frozen=True)
class Headline:
    """One number to see first: its name, its value and what it means."""

    name: str
    value: str
    note: str


def headlines(result: Result) -> list[Headline]:
    """The numbers to see first; those that do not exist are left out."""
    if isinstance(result, ClassificationResult):
        return _classification_headlines(result)
    if isinstance(result, MultilabelResult):
        candidates = [
            ("mAP", result.mean_average_precision, "mean average precision"),
            ("AUROC", result.auroc, "mean of the labels"),
            ("Macro F1", result.macro_f1, f"from a probability of {result.threshold:g} on"),
            ("Micro F1", result.micro_f1, "of all decisions together"),
            ("Exact match", result.exact_match, "examples with every label right"),
        ]
    else:
        candidates = [
            ("MAE", result.mae, "mean absolute error"),
            ("RMSE", result.rmse, "root of the mean squared error"),
            ("R²", result.r2, "share of the variance explained"),
            ("Bias", result.bias, "mean of predicted minus true"),
            ("NLL", result.nll, "under the predicted Gaussians, in nats"),
        ]
    return [Headline(name, _show(value), note) for name, value, note in candidates if value is not None]


def _show(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 100 else f"{value:.4g}"


def _classification_headlines(result: ClassificationResult) -> list[Headline]:
    low, high = result.accuracy_interval
    binary = len(result.class_names) == 2
    candidates = [
        ("Accuracy", result.accuracy, f"95 % interval {low:.3f} to {high:.3f}"),
        ("Balanced accuracy", result.balanced_accuracy, "mean recall of the classes"),
        ("Macro F1", result.macro.f1, "mean F1 of the classes"),
        ("AUROC", result.auroc, f"of {result.class_names[1]}" if binary else "mean, one against the rest"),
        ("Average precision", result.average_precision, f"of {result.class_names[1]}"),
        ("Top-5 accuracy", result.top5, "true class among the five most probable"),
        ("ECE", result.ece, "mean gap of confidence and accuracy"),
    ]
    return [Headline(name, f"{value:.3f}", note) for name, value, note in candidates if value is not None]


def sentences(result: Result) -> list[str]:
    """What the numbers say, for a reader without the table."""
    if isinstance(result, MultilabelResult):
        decisions = result.count * len(result.class_names)
        return [
            f"{result.exact_match:.1%} of {result.count} examples have all {len(result.class_names)} labels right; "
            f"{result.hamming_loss:.2%} of the {decisions} single decisions are wrong."
        ]
    if not isinstance(result, ClassificationResult):
        size = "examples" if result.count != 1 else "example"
        return [f"On {result.count} {size} a prediction is off by {_show(result.mae)} on average."]
    right = int(result.confusion_matrix.trace())
    low, high = result.accuracy_interval
    largest = max(result.per_class, key=lambda scores: scores.support)
    share = largest.support / result.count
    said = [
        f"{right} of {result.count} examples are predicted correctly: {result.accuracy:.1%} "
        f"(95 % interval {low:.1%} to {high:.1%}). Always answering {quoted(largest.name)}, the most frequent class, "
        f"would be right in {share:.1%}."
    ]
    known = [scores for scores in result.per_class if scores.recall is not None]
    if len(known) > 1 and right < result.count:
        said.append(_weakest(result))
    return said


def _weakest(result: ClassificationResult) -> str:
    index = min(
        (i for i, scores in enumerate(result.per_class) if scores.recall is not None),
        key=lambda i: result.per_class[i].recall or 0.0,
    )
    scores = result.per_class[index]
    row = result.confusion_matrix[index].copy()
    found, row[index] = int(row[index]), 0
    taken = int(row.argmax())
    return (
        f"The lowest recall is that of {quoted(scores.name)}: {found} of {scores.support} are found "
        f"({scores.recall:.1%}), and {int(row[taken])} are taken for {quoted(result.class_names[taken])}."
    )


def cautions(result: Result) -> list[str]:
    """What a reader should know before trusting the numbers."""
    said = [f"{name.replace('_', ' ')} is not given: {why}." for name, why in result.undefined.items()]
    if isinstance(result, ClassificationResult):
        if result.absent:
            said.append(f"No example of {_listed(result.absent)}: left out of every average over classes.")
        few = tuple(scores.name for scores in result.per_class if 0 < scores.support < _FEW)
        if few:
            said.append(f"Fewer than {_FEW} examples of {_listed(few)}: mind the intervals of the recall.")
    return said


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(quoted(name) for name in names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
