from itertools import permutations

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import roc_auc_score

from jaxvision.uncertainty import metrics


@jax.jit
def areas(uncertainty, errors):
    return {
        "aurc": metrics.aurc(uncertainty, errors),
        "e_aurc": metrics.e_aurc(uncertainty, errors),
        "augrc": metrics.augrc(uncertainty, errors),
        "coverage_at_risk": metrics.coverage_at_risk(uncertainty, errors, 0.2),
        "curve": metrics.risk_coverage(uncertainty, errors),
        "accuracies": metrics.accuracy_coverage(uncertainty, errors),
    }


def written_out(uncertainty, errors):
    """The curve for untied rows in float64."""
    kept = np.asarray(errors, np.float64)[np.argsort(uncertainty)]
    return np.cumsum(kept) / np.arange(1, len(kept) + 1)


def test_against_the_definitions():
    rng = np.random.default_rng(0)
    u = rng.normal(size=40).astype(np.float32)
    e = rng.random(40) < 0.3
    got = areas(u, e)
    risk = written_out(u, e)
    np.testing.assert_allclose(got["curve"].risk, risk, rtol=1e-6)
    np.testing.assert_allclose(got["curve"].coverage, np.arange(1, 41) / 40, rtol=1e-6)
    np.testing.assert_allclose(got["accuracies"].accuracy, 1 - risk, rtol=1e-6)
    assert float(got["aurc"]) == pytest.approx(risk.mean(), rel=1e-6)
    assert float(got["e_aurc"]) == pytest.approx(risk.mean() - written_out(e, e).mean(), rel=1e-5)
    assert float(got["coverage_at_risk"]) == pytest.approx(max(np.flatnonzero(risk <= 0.2) + 1) / 40)
    points = np.concatenate([[0], risk * np.arange(1, 41) / 40])
    assert float(got["augrc"]) == pytest.approx(((points[1:] + points[:-1]) / 2).mean(), rel=1e-6)


def test_augrc_is_the_papers_function_of_auroc_and_accuracy_with_ties_too():
    rng = np.random.default_rng(0)
    u = rng.integers(6, size=40).astype(np.float32)
    e = rng.random(40) < u / 8
    share = e.mean()
    expected = (1 - roc_auc_score(e, u)) * share * (1 - share) + share**2 / 2
    assert float(areas(u, e)["augrc"]) == pytest.approx(expected, rel=1e-6)


def test_ties_give_the_mean_over_all_their_orders():
    u = np.array([0, 1, 1, 1, 2, 2], np.float32)
    e = np.array([0, 1, 0, 0.25, 2, 0], np.float32)
    curves = [
        written_out(range(6), e[list(order)])
        for order in permutations(range(6))
        if (np.diff(u[list(order)]) >= 0).all()
    ]
    assert len(curves) == 12
    got = areas(u, e)
    np.testing.assert_allclose(got["curve"].risk, np.mean(curves, 0), rtol=1e-6)
    assert float(got["aurc"]) == pytest.approx(np.mean(curves), rel=1e-6)
    everything_tied = areas(np.zeros(6, np.float32), e)
    np.testing.assert_allclose(everything_tied["curve"].risk, e.mean(), rtol=1e-6)


def test_a_threshold_cannot_split_ties():
    e = np.array([0, 0, 0, 0, 1, 1], np.float32)
    assert float(areas(np.array([0, 0, 0, 1, 1, 1], np.float32), e)["coverage_at_risk"]) == 0.5
    assert float(areas(np.array([0, 0, 0, 1, 2, 2], np.float32), e)["coverage_at_risk"]) == pytest.approx(4 / 6)
    assert float(areas(np.zeros(6, np.float32), e)["coverage_at_risk"]) == 0  # a third is above 0.2


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    arrays(np.int32, 40, elements=st.integers(-6, 6)),
    arrays(np.float32, 40, elements=st.sampled_from([0.0, 0.5, 1.0])),
    st.permutations(range(40)),
)
def test_only_the_order_of_the_uncertainties_matters(u, e, order):
    u = u.astype(np.float32)
    got = areas(u, e)
    for other in (areas(np.exp(u / 2), e), areas(u[order], e[order])):
        for name in ("aurc", "e_aurc", "augrc", "coverage_at_risk"):
            assert float(got[name]) == pytest.approx(float(other[name]), abs=1e-7), name
    best = areas(e, e)
    assert float(best["e_aurc"]) == pytest.approx(0, abs=1e-6)
    assert float(best["aurc"]) <= float(got["aurc"]) + 1e-6
    assert float(best["augrc"]) <= float(got["augrc"]) + 1e-6
    assert 0 <= float(got["aurc"]) <= e.max() + 1e-6
    assert 0 <= float(got["augrc"]) <= e.mean() + 1e-6


def test_large_inputs_keep_float32s_precision():
    rng = np.random.default_rng(0)
    n = 100_000
    u = rng.permutation(n).astype(np.float32)
    e = rng.exponential(size=n).astype(np.float32)
    got = areas(u, e)
    risk = written_out(u, e)
    np.testing.assert_allclose(got["curve"].risk, risk, rtol=2e-6)
    assert float(got["aurc"]) == pytest.approx(risk.mean(), rel=2e-6)
    assert float(got["e_aurc"]) == pytest.approx(risk.mean() - written_out(e, e).mean(), rel=1e-5)
    assert float(got["augrc"]) == pytest.approx((risk * np.arange(1, n + 1) / n).mean(), rel=2e-5)
    tied = areas(np.zeros(n, np.float32), np.full(n, 0.1, np.float32))
    assert float(tied["aurc"]) == pytest.approx(np.float64(np.float32(0.1)), rel=5e-6)
    assert float(tied["augrc"]) == pytest.approx(np.float64(np.float32(0.1)) / 2, rel=5e-6)


def test_nan_and_wrong_shapes():
    u = np.arange(40, dtype=np.float32)
    for position, bad in ((0, u), (1, np.zeros(40, np.float32))):
        values = [u, np.zeros(40, np.float32)]
        values[position] = np.where(np.arange(40) == 7, np.nan, bad).astype(np.float32)
        got = areas(*values)
        assert all(np.isnan(float(got[name])) for name in ("aurc", "e_aurc", "augrc", "coverage_at_risk"))
    for function in (metrics.aurc, jax.jit(metrics.aurc), metrics.risk_coverage):
        with pytest.raises(ValueError, match=r"one shape: uncertainty \(40,\), errors \(40, 1\)"):
            function(u, u[:, None])
    with pytest.raises(ValueError, match="nothing to measure"):
        metrics.aurc(u[:0], u[:0])
    with pytest.raises(ValueError, match="not single numbers"):
        metrics.aurc(1.0, 1.0)
