"""Reads calibrations from files."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from flax import nnx

from jaxvision.uncertainty.calibration import FORMAT, SCHEMA, Calibrated
from jaxvision.uncertainty.candidates import Candidate
from jaxvision.uncertainty.inject import inject
from jaxvision.uncertainty.net import Net
from jaxvision.uncertainty.overlap import RowSketch
from jaxvision.uncertainty.plan import Plan
from jaxvision.version import __version__


class CalibrationError(ValueError):
    """A file that is no calibration, or one that this version cannot read."""


def load_calibration(path: str | Path, model: nnx.Module | Net) -> Calibrated:
    """Reads what `Calibrated.save` wrote.

    Args:
        path: of the file.
        model: the model that was tuned, with its weights; or a `Net` of it, for networks that are no `nnx.Module`.

    Raises:
        CalibrationError: the file is not a calibration, is damaged, or is of another schema.
        PatternError: the model has not all the sites; they are named.
    """
    try:
        document = json.loads(Path(path).read_text())
    except ValueError as error:
        raise CalibrationError(f"{path}: not JSON ({error})") from None
    if not isinstance(document, Mapping) or document.get("format") != FORMAT:
        raise CalibrationError(f"{path}: not a calibration of jaxvision (there is no 'format': '{FORMAT}')")
    if document.get("schema") != SCHEMA:
        raise CalibrationError(
            f"{path}: schema {document.get('schema')!r}, written by jaxvision {document.get('jaxvision')}; this is "
            f"jaxvision {__version__}, which reads schema {SCHEMA}: tune again"
        )
    try:
        plan, task = Plan.from_json(document["plan"]), document["task"]
        parts = (
            Candidate.from_json(document["result"]),
            tuple(Candidate.from_json(candidate) for candidate in document["sweep"]),
            tuple(Candidate.from_json(candidate) for candidate in document["candidates"]),
            int(document["num_samples"]),
            str(document["split"]),
            RowSketch.from_json(document["sketch"]),
            tuple((str(name), float(value)) for name, value in document["test"].items()),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CalibrationError(f"{path}: a damaged calibration: {type(error).__name__}: {error}") from error
    return Calibrated(_planned(model, plan, task), *parts)


def _planned(model: nnx.Module | Net, plan: Plan, task: str) -> Net:
    if not isinstance(model, Net):
        return inject(model, plan, task=task)
    if [site.path for site in model.plan.sites] != [site.path for site in plan.sites]:
        raise CalibrationError(
            f"the calibration is for the sites {', '.join(s.path for s in plan.sites)}; the given network has "
            f"{', '.join(s.path for s in model.plan.sites)}"
        )
    return replace(model, plan=plan).with_task(task)
