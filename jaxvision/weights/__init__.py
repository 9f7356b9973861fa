"""Weights: reading and writing files, fitting them to a model, and finding them by name."""

from jaxvision.weights.adapt import adapt_input_channels
from jaxvision.weights.download import cache_folder
from jaxvision.weights.errors import WeightsError, WeightsMismatchError, WeightsUnavailableError, WeightsWarning
from jaxvision.weights.formats import read_weights
from jaxvision.weights.hub import WeightsFile, resolve
from jaxvision.weights.load import load_weights
from jaxvision.weights.report import LoadReport, Misfit
from jaxvision.weights.save import save_weights
from jaxvision.weights.sources import SOURCES, Source

__all__ = [
    "SOURCES",
    "LoadReport",
    "Misfit",
    "Source",
    "WeightsError",
    "WeightsFile",
    "WeightsMismatchError",
    "WeightsUnavailableError",
    "WeightsWarning",
    "adapt_input_channels",
    "cache_folder",
    "load_weights",
    "read_weights",
    "resolve",
    "save_weights",
]
