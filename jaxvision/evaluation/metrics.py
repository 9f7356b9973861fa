"""What is measured: one function and one result for each kind of task.

The results are frozen dataclasses with `rows` (a dict for each class, label or target) and `to_json` (plain, no NaN).
"""

from jaxvision.evaluation.classification import (
    ClassificationResult,
    ClassScores,
    evaluate_classification,
    from_confusion_matrix,
)
from jaxvision.evaluation.multilabel import LabelScores, MultilabelResult, evaluate_multilabel
from jaxvision.evaluation.regression import RegressionResult, TargetScores, evaluate_regression

Result = ClassificationResult | MultilabelResult | RegressionResult

__all__ = [
    "ClassScores",
    "ClassificationResult",
    "LabelScores",
    "MultilabelResult",
    "RegressionResult",
    "Result",
    "TargetScores",
    "evaluate_classification",
    "evaluate_multilabel",
    "evaluate_regression",
    "from_confusion_matrix",
]
