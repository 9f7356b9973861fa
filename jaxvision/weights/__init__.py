"""Weights: reading files, fitting them to a model, and finding them by name."""

from jaxvision.weights.errors import WeightsError, WeightsUnavailableError
from jaxvision.weights.formats import read_weights

__all__ = ["WeightsError", "WeightsUnavailableError", "read_weights"]
