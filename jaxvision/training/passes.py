"""A pass over data without training: what a compiled step gives for every example, in the examples' order."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from jaxvision.training.parallel import Driver
from jaxvision.training.parallel.driver import Compiled
from jaxvision.training.step import EvalStep


def with_rows(step: EvalStep) -> EvalStep:
    """The step that also gives back which rows of the batch are which examples, as `collect` needs it."""

    def evaluate(variables: Mapping[str, Any], batch: Mapping[str, Any], axis_name: Any = None) -> dict[str, Any]:
        outputs = step(variables, batch, axis_name)
        return {**outputs, "index": batch["index"], "weight": batch["weight"]}

    return evaluate


def collect(
    driver: Driver, step: Compiled, variables: Any, data: Iterable[Mapping[str, np.ndarray]]
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Runs a compiled `with_rows` step over all batches.

    Args:
        driver: what compiled the step.
        step: its outputs are rows of the batch, or scalars over the global batch.
        variables: placed by the driver.
        data: the batches.

    Returns:
        The rows by name, whole on every process, padding and unreadable pictures left out (``"index"`` says which
        examples they are); and the sums of the scalars.

    Raises:
        ValueError: no picture could be read.
    """
    rows: dict[str, list[np.ndarray]] = {}
    sums: dict[str, float] = {}
    for batch in data:
        outputs = driver.to_host(step(variables, driver.place_batch(batch)))
        seen = outputs.pop("weight") > 0
        for name, value in outputs.items():
            if np.ndim(value):
                rows.setdefault(name, []).append(value[seen])
            else:
                sums[name] = sums.get(name, 0.0) + float(value)
    if not sum(map(len, rows.get("index", ()))):
        raise ValueError("there is no readable picture to evaluate")
    return {name: np.concatenate(parts) for name, parts in rows.items()}, sums
