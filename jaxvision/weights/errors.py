"""What goes wrong with weights, as one family of errors."""

from typing import Any


class WeightsError(ValueError):
    """Weights that cannot be read, or that do not fit the model."""


class WeightsMismatchError(WeightsError):
    """Weights that do not fit the model.

    Attributes:
        report: the `jaxvision.weights.LoadReport` that says where.
        num_classes: with which the model would take them as they are, if the classifier is all that does not fit.
    """

    def __init__(self, message: str, report: Any, num_classes: int | None = None):
        super().__init__(message)
        self.report = report
        self.num_classes = num_classes


class WeightsUnavailableError(WeightsError):
    """Weights that cannot be found or fetched; the message says what to do about it."""


class WeightsWarning(UserWarning):
    """Weights that fit, with which a model may give other answers than their user expects."""


class FormatError(WeightsError):
    """What a reader finds wrong inside a file; `read_weights` adds the file's name to the message."""
