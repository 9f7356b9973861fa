"""One page that says what a network's uncertainty is worth, with the files behind it."""

from jaxvision.uncertainty.report.write import write_uncertainty_report

__all__ = ["write_uncertainty_report"]
