import io

import matplotlib
import numpy as np
from PIL import Image

from jaxvision.evaluation.calibration import reliability
from jaxvision.evaluation.plots import save
from jaxvision.uncertainty import plots


def drawn(figure):
    stream = io.BytesIO()
    save(figure, stream)
    return np.asarray(Image.open(stream).convert("L"))


def texts(figure):
    return {text.get_text() for text in figure.findobj(matplotlib.text.Text) if text.get_text() and text.get_visible()}


def lines(figure, color):
    return [
        line.get_xydata() for line in figure.axes[0].get_lines() if line.get_color() == color and len(line.get_xydata())
    ]


def classes(n=300):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, n)
    logits = rng.normal(size=(n, 3)) + 2 * np.eye(3)[labels]
    p = np.exp(2 * logits)  # the true posterior
    return labels, p / p.sum(1, keepdims=True)


def test_reliability_of_several_predictions_names_each_with_its_error():
    labels, p = classes()
    sharp = p**3 / (p**3).sum(1, keepdims=True)
    bins = {"before": reliability(labels, sharp), "after": reliability(labels, p)}
    before = dict(matplotlib.rcParams)
    figure = plots.reliability_comparison(bins)
    assert {f"{name}: ECE {b.ece:.3f}" for name, b in bins.items()} <= texts(figure)
    assert bins["before"].ece > bins["after"].ece
    drawn(figure)
    assert dict(matplotlib.rcParams) == before


def test_error_over_coverage_lies_between_the_best_order_and_the_mean():
    labels, p = classes(60)
    wrong = (p.argmax(1) != labels).astype(float)
    figure = plots.error_coverage(wrong, {"confidence": 1 - p.max(1)})
    order = np.argsort(1 - p.max(1))
    risk = np.cumsum(wrong[order]) / np.arange(1, len(wrong) + 1)
    (curve, mark) = lines(figure, "#0072B2")[0], figure.axes[0].texts[0]
    np.testing.assert_allclose(curve[:, 1], risk, atol=1e-6)
    assert mark.get_text() == f"{risk[47]:.1%} of the surest 80%"
    best = np.cumsum(np.sort(wrong)) / np.arange(1, len(wrong) + 1)
    assert f"confidence, AURC {risk.mean():.4f}" in texts(figure)
    assert f"best order, AURC {best.mean():.4f}" in texts(figure)
    assert f"random order, AURC {wrong.mean():.4f}" in texts(figure)
    drawn(plots.error_coverage(np.zeros(60), {"confidence": np.ones(60)}))


def test_nll_over_rate_shows_the_minimum_and_labels_that_do_not_touch():
    rates = np.geomspace(1e-3, 0.5, 9)
    nll = 0.25 + 0.01 * np.log(rates / 0.02) ** 2
    nll[-2:] = 60.0, np.nan
    best = float(np.nanmin(nll))
    chosen = float(rates[np.nanargmin(nll)])
    levels = [plots.Level("plain", 0.4), plots.Level("scaled", best + 1e-4)]
    figure = plots.nll_over_rate("averaged", rates, nll, chosen, levels, [plots.Point("other", 0.1, best + 2e-4)])
    axes = figure.axes[0]
    low, high = axes.get_ylim()
    assert low < best
    assert 0.4 < high < 3
    heights = sorted(text.get_position()[1] for text in axes.texts)
    assert len(heights) == 4
    assert np.diff(heights).min() > 0.07
    assert f"averaged: {best:.4g} at {chosen:g}" in texts(figure)
    drawn(figure)


def test_histograms_add_up_for_each_group():
    rng = np.random.default_rng(0)
    groups = {"right": rng.exponential(0.1, 900), "wrong": rng.exponential(0.4, 30), "none": np.zeros(0)}
    figure = plots.uncertainty_histograms({"entropy, nats": groups, "flat": {"all": np.zeros(4)}}, {"flat": "a title"})
    polygons = [patch.get_xy() for patch in figure.axes[0].patches if not patch.get_fill()]
    assert len(polygons) == 2
    assert {"right (900)", "wrong (30)", "a title", "entropy, nats"} <= texts(figure)
    for polygon in polygons:
        heights = polygon[1:-1:2, 1]
        np.testing.assert_allclose(heights.sum(), 1, atol=1e-9)
    drawn(figure)


def test_intervals_that_miss_the_truth_stand_out():
    rng = np.random.default_rng(0)
    mean, std = rng.normal(size=500), np.full(500, 0.5)
    y = mean + std * rng.normal(size=500)
    held = np.abs(y - mean) <= 1.6448536 * std
    figure = plots.predicted_intervals(y, mean, std, "age")
    assert f"90% intervals: {held.mean():.1%} hold the truth" in texts(figure)
    shown = {c.get_label(): len(c.lines[0].get_xydata()) for c in figure.axes[0].containers}
    assert sum(shown.values()) == 300
    assert 0 < shown["misses it"] < 60
    drawn(figure)
    figure = plots.interval_coverage(y, {"good": (mean, std**2), "narrow": (mean, (0.1 * std) ** 2)})
    good, narrow = lines(figure, "#0072B2")[0], lines(figure, "#D55E00")[0]
    assert np.abs(good[:, 1] - good[:, 0]).max() < 0.08
    assert (narrow[5:-5, 1] < narrow[5:-5, 0] - 0.05).all()
    drawn(figure)


def test_sparsification_starts_at_the_error_of_all():
    rng = np.random.default_rng(0)
    std = rng.uniform(0.1, 2, 60)
    squares = (std * rng.normal(size=60)) ** 2
    figure = plots.sparsification_curve(squares, std, "years")
    curve, oracle = lines(figure, "#0072B2")[0], lines(figure, "#24292f")[0]
    np.testing.assert_allclose(curve[0], [0, np.sqrt(squares.mean())], rtol=1e-5)
    kept = np.sort(squares[np.argsort(std)[:30]])
    np.testing.assert_allclose(curve[curve[:, 0] == 0.5, 1], np.sqrt(kept.mean()), rtol=1e-5)
    assert (oracle[: len(curve), 1] <= curve[:, 1] + 1e-6).all()
    assert "RMSE of the rest, years" in texts(figure)
    drawn(figure)
