"""The rate and the scale of injected dropout, from validation data (Ledda, Fumera and Roli 2023, section 3)."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, UInt64

from jaxvision.paths import suggestion
from jaxvision.uncertainty.arguments import checked_key
from jaxvision.uncertainty.batches import Rows, map_rows
from jaxvision.uncertainty.calibration import Calibrated, checked_rows
from jaxvision.uncertainty.candidates import CENTERS, Center
from jaxvision.uncertainty.net import Net
from jaxvision.uncertainty.overlap import RowSketch, row_hashes
from jaxvision.uncertainty.plan import check_rate
from jaxvision.uncertainty.scale import HETEROSCEDASTIC_KINDS, KINDS, VAR_FLOOR
from jaxvision.uncertainty.tune_classification import class_labels, fit_classification, score_classification
from jaxvision.uncertainty.tune_regression import fit_regression, run_passes, score_regression, value_labels

RATES = (0.001, 0.002, 0.005, 0.008, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5)
_SCALINGS = ("temperature", "none")


def tune(
    net: Net,
    x_val: Rows,
    y_val: Any,
    key: jax.Array,
    *,
    task: str | None = None,
    rates: Sequence[float] = RATES,
    num_samples: int = 100,
    scale: str | None = None,
    center: Center | None = None,
    per_output: bool = False,
    var_floor: float = VAR_FLOOR,
    batch_size: int = 64,
    test: tuple[Rows, Any] | float | None = None,
    allow_overlap: bool = False,
) -> Calibrated:
    """Chooses rate and scale of a regression, or rate and temperature of a classification, by validation likelihood.

    The two are chosen jointly: injected dropout at a rate that is right by itself would ruin a network that was trained
    without it, and a small rate with its variance scaled up does not. All rates run in one compiled function with
    common random numbers.

    Whatever is chosen, `Calibrated.table` shows it beside every other scale and beside what it has to beat: a constant
    variance (or the heteroscedastic head's own), the deterministic softmax, the temperature-scaled softmax.

    Args:
        net: a network with sites; of their rates only the proportions matter.
        x_val: images (n, ...), or batches of them that can be iterated over several times. Not the training data: there
            the errors are too small.
        y_val: all their labels in order: class numbers; 0 and 1 for binary, (n, k) of them for multilabel; numbers.
        key: a threefry key. The result depends on it and the rows, not on ``batch_size``.
        task: what the outputs are. Default: what `inject` was told.
        rates: to try. Default: the authors' grid. Small rates need many samples.
        num_samples: passes at each rate, and of predictions afterwards.
        scale: of a regression one of ``"variance"`` (the paper's), ``"relaxed"``, ``"affine"``, ``"power"``,
            ``"constant"`` (see `fit_scale`); the first three with a heteroscedastic head. Default: the best of
            ``"variance"``, ``"affine"`` and ``"power"`` on the tuning rows, where a second parameter has to gain 1/n
            nats (Akaike 1974). The paper's alone came out up to 0.14 nats worse on test rows than a constant variance,
            the default up to 0.03 (diabetes, Boston, miles per gallon; 8 splits of each). Of a classification
            ``"temperature"`` (default) or ``"none"``.
        center: of a regression: ``"mc"``, the mean over the passes (the paper's), or ``"deterministic"``. Default: the
            better one on the tuning rows.
        per_output: of a regression with outputs (n, d): a scale for each output; needed where their units differ.
        var_floor: variances below this share of their mean count as this share: see `fit_scale`.
        batch_size: rows at a time. A regression keeps two float32 for each row, output and rate; of dense outputs a
            fixed random choice of places is looked at, 2^18 values in all.
        test: what to measure the result on, once. ``(x, y)``, or the fraction of the validation rows to set aside for
            that: at random, equal rows together (rows that belong together otherwise, such as slices of a patient, need
            ``(x, y)``). Without it all numbers are those of the tuning rows, and `Calibrated.split` says so.
        allow_overlap: do not look for rows of ``(x, y)`` among the validation rows: where the rows are features, which
            may be equal where the pictures are not.

    Raises:
        OverlapError: rows of ``test`` are among the validation rows.
        ScaleError: no variance, or no error, to fit a scale to.
        ValueError: wrong arguments, or labels that do not fit the outputs.

    Example:
        >>> net = uq.inject(model, "head", task="classification")  # doctest: +SKIP
        >>> cal = uq.tune(net, x_val, y_val, jax.random.key(0), test=0.3)  # doctest: +SKIP
        >>> print(cal)  # doctest: +SKIP
        >>> cal.predict(images, jax.random.key(1)).mutual_information  # doctest: +SKIP
    """
    net = net if task is None else net.with_task(task)
    rates = _checked_rates(rates)
    numeric = net.task in ("regression", "heteroscedastic")
    _check_options(net.task, scale, center, per_output)
    hashes = map_rows(x_val, row_hashes, batch_size)
    y = checked_rows(y_val, len(hashes))
    fitting_labels = value_labels if numeric else class_labels
    y = fitting_labels(net, x_val, y)
    if per_output and y.ndim != 2:
        raise ValueError(
            f"per_output needs outputs (n, d), a scale for each of d; the outputs are {('n', *y.shape[1:])}"
        )
    tuned: Bool[np.ndarray, " n"] | None = None
    test_set: tuple[Rows, np.ndarray, Bool[np.ndarray, " n"] | None] | None = None
    split = f"tuned on {len(hashes)} rows, none set aside: the numbers are those of the tuning rows, and so optimistic"
    if isinstance(test, tuple):
        x_test, y_test = test
        test_hashes = map_rows(x_test, row_hashes, batch_size)
        if not allow_overlap:
            RowSketch.of(hashes, kept=None).check(test_hashes)
        test_set = x_test, fitting_labels(net, x_test, checked_rows(y_test, len(test_hashes))), None
        split = f"tuned on {len(hashes)} rows; tested on {len(test_hashes)} others that were given"
    elif test is not None:
        tuned = _tuned_rows(hashes, test, key)
        test_set = x_val, y, ~tuned
        split = f"tuned on {tuned.sum()} of {len(hashes)} rows; tested on the other {(~tuned).sum()}, drawn at random"
    if numeric:
        passes = run_passes(net, x_val, y, key, rates, num_samples, batch_size, tuned)
        found = fit_regression(passes, rates, scale, center, var_floor, per_output)
    else:
        found = fit_classification(net, x_val, y, key, rates, num_samples, batch_size, scale != "none", tuned)
    index, sweep, candidates = found
    sketch = RowSketch.of(hashes if tuned is None else hashes[tuned])
    cal = Calibrated(net.with_rate(rates[index]), sweep[index], sweep, candidates, num_samples, split, sketch)
    if test_set is None:
        return cal
    x_test, y_test, chosen = test_set
    where = (net, x_test, y_test, key, num_samples, batch_size, chosen)
    scored = score_regression(candidates, rates, *where) if numeric else score_classification(candidates, *where)
    result = next(candidate for candidate in scored if candidate.name == cal.result.name)
    measured = cal.measure(x_test, y_test, key, batch_size=batch_size, chosen=chosen)
    return replace(cal, result=result, candidates=scored, test_metrics=tuple(measured.items()))


def _checked_rates(rates: Sequence[float]) -> tuple[float, ...]:
    checked = tuple(sorted({float(rate) for rate in rates}))
    if not checked:
        raise ValueError("rates is empty: give at least one")
    for rate in checked:
        check_rate(rate)
    if checked[0] == 0:
        raise ValueError("rate 0 drops nothing; the network without dropout is among the baselines anyway")
    return checked


def _check_options(task: str, scale: str | None, center: str | None, per_output: bool) -> None:
    kinds = {"regression": KINDS, "heteroscedastic": HETEROSCEDASTIC_KINDS}.get(task, _SCALINGS)
    if scale is not None and scale not in kinds:
        raise ValueError(f"unknown scale {scale!r} for {task}{suggestion(scale, kinds)}; there are {', '.join(kinds)}")
    if kinds is _SCALINGS and (center is not None or per_output):
        raise ValueError(f"center and per_output are for regressions; the task is {task!r}")
    if center not in (None, *CENTERS):
        raise ValueError(f"unknown center {center!r}; there are {', '.join(CENTERS)}")


def _tuned_rows(hashes: UInt64[np.ndarray, " n"], fraction: float, key: jax.Array) -> Bool[np.ndarray, " n"]:
    """Which rows are left when a fraction is set aside; equal rows go to the same side."""
    if not isinstance(fraction, int | float) or not 0 < fraction < 1:
        raise ValueError(f"test is (x, y), or a fraction of the rows between 0 and 1, got {str(fraction)[:60]}")
    _, group, sizes = np.unique(hashes, return_inverse=True, return_counts=True)
    order = np.random.default_rng(np.asarray(jax.random.key_data(checked_key(key)))).permutation(len(sizes))
    before = np.cumsum(sizes[order]) - sizes[order]
    aside = np.zeros(len(sizes), bool)
    aside[order[before < round(fraction * len(hashes))]] = True
    tuned: Bool[np.ndarray, " n"] = ~aside[group]
    if tuned.all() or not tuned.any():
        raise ValueError(
            f"a fraction of {fraction} of these {len(hashes)} rows, of which {len(sizes)} differ, leaves none"
        )
    return tuned
