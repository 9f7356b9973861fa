"""What goes wrong with weights, as one family of errors."""


class WeightsError(ValueError):
    """Weights that cannot be read, or that do not fit the model."""


class WeightsUnavailableError(WeightsError):
    """Weights that cannot be found or fetched; the message says what to do about it."""


class FormatError(WeightsError):
    """What a reader finds wrong inside a file; `read_weights` adds the file's name to the message."""
