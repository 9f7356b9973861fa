"""Sets and intervals that hold the truth with a probability of at least 1 - alpha: split conformal prediction.

The guarantee is marginal (over all examples, not for each kind of them) and needs only that the rows it was fitted on
and the new ones are exchangeable. Fit on rows that were used for nothing else: not for training, rates, scales or
temperatures. It holds for any probabilities and any standard deviations; better ones make smaller sets.

Sources: Lei et al. 2018 (the method, its finite-sample quantile, residuals over a standard deviation); Sadinle et al.
2019 (LAC); Romano et al. 2020 (APS); Angelopoulos et al. 2021 (RAPS).
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxvision.paths import suggestion
from jaxvision.uncertainty.conformal.intervals import ConformalIntervals, fit_residuals
from jaxvision.uncertainty.conformal.quantile import conformal_quantile
from jaxvision.uncertainty.conformal.sets import ConformalSets, fit_aps, fit_lac, fit_raps

__all__ = [
    "ConformalIntervals",
    "ConformalSets",
    "conformal_quantile",
    "fit_aps",
    "fit_lac",
    "fit_raps",
    "fit_residuals",
    "from_json",
]


def from_json(document: Mapping[str, Any]) -> ConformalSets | ConformalIntervals:
    """Reads what ``to_json`` wrote.

    Raises:
        ValueError: it is no such document.
    """
    fields = dict(document)
    method = fields.get("method")
    known = ("lac", "aps", "raps", "residuals")
    if method not in known:
        raise ValueError(f"unknown conformal method {method!r}{suggestion(str(method), known)}; there are {known}")
    try:
        if method != "residuals":
            return ConformalSets(
                **{**fields, "quantile": math.inf if fields["quantile"] is None else fields["quantile"]}
            )
        del fields["method"]
        quantile = np.array(fields.pop("quantile"), np.float32)  # None becomes NaN
        return ConformalIntervals(quantile=np.where(np.isnan(quantile), np.float32(np.inf), quantile), **fields)
    except (KeyError, TypeError) as error:
        raise ValueError(f"this is no document of a conformal {method} predictor: {error}") from None
