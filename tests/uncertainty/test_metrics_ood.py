import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn import metrics as sk

from jaxvision.uncertainty import metrics


def scikit_learns(inside, outside):
    truth = np.repeat([0, 1], [len(inside), len(outside)])
    scores = np.concatenate([inside, outside])
    fpr, tpr, _ = sk.roc_curve(truth, scores, drop_intermediate=False)
    return {
        "auroc": sk.roc_auc_score(truth, scores),
        "aupr": sk.average_precision_score(truth, scores),
        "fpr95": fpr[np.flatnonzero(tpr >= 0.95)[0]],
    }


def floats(values):
    return {name: float(value) for name, value in values.items()}


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    arrays(np.int32, 30, elements=st.integers(-5, 4)),
    arrays(np.int32, 40, elements=st.integers(-4, 6)),
)
def test_ties_are_scikit_learns_and_only_the_order_matters(inside, outside):
    inside, outside = inside.astype(np.float32), outside.astype(np.float32)
    got = floats(metrics.ood_metrics(inside, outside))
    assert got == pytest.approx(scikit_learns(inside, outside), abs=1e-6)
    assert floats(metrics.ood_metrics(np.exp(inside), np.exp(outside))) == pytest.approx(got, abs=1e-7)
    assert floats(metrics.ood_metrics(inside[::-1], np.roll(outside, 7))) == pytest.approx(got, abs=1e-7)
    assert all(0 <= value <= 1 for value in got.values())
    # the other way round
    assert float(metrics.ood_metrics(-inside, -outside)["auroc"]) == pytest.approx(1 - got["auroc"], abs=1e-6)


def test_large_inputs_keep_float32s_precision():
    rng = np.random.default_rng(0)
    inside = np.round(rng.normal(size=100_000), 4).astype(np.float32)
    outside = np.round(rng.normal(1, size=50_000), 4).astype(np.float32)
    assert floats(metrics.ood_metrics(inside, outside)) == pytest.approx(scikit_learns(inside, outside), abs=1e-6)


def test_extremes():
    low, high = jnp.linspace(-1, 1, 30).at[0].set(-jnp.inf), jnp.linspace(2, 3, 40).at[0].set(jnp.inf)
    assert floats(metrics.ood_metrics(low, high)) == {"auroc": 1, "aupr": 1, "fpr95": 0}
    assert floats(metrics.ood_metrics(jnp.zeros(30), jnp.zeros(40))) == pytest.approx(
        {"auroc": 0.5, "aupr": 40 / 70, "fpr95": 1}
    )
    # 38 of 40 are 95 %, though 0.95 * 40 in floats may not be 38: the two lowest do not set the threshold.
    outside = jnp.concatenate([jnp.zeros(2), jnp.full(38, 2.0)])
    assert float(metrics.ood_metrics(jnp.ones(30), outside)["fpr95"]) == 0
    assert float(metrics.ood_metrics(jnp.ones(30), outside.at[2].set(0))["fpr95"]) == 1


def test_nan_and_wrong_shapes():
    scores = jnp.arange(30.0)
    for inside, outside in (
        (scores.at[3].set(jnp.nan), jnp.arange(40.0)),
        (scores, jnp.arange(40.0).at[0].set(jnp.nan)),
    ):
        assert all(np.isnan(value) for value in floats(metrics.ood_metrics(inside, outside)).values())
    for function in (metrics.auroc, jax.jit(metrics.aupr), metrics.fpr95, metrics.ood_metrics):
        with pytest.raises(ValueError, match=r"nothing to measure: scores_out \(0,\)"):
            function(scores, scores[:0])
