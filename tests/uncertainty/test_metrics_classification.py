from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import metrics as sk

from jaxvision.evaluation.calibration import reliability
from jaxvision.uncertainty import metrics

N, K = 500, 4
STATIC = jax.jit(
    lambda p, y: {
        "accuracy": metrics.accuracy(p, y),
        "nll": metrics.nll(p, y),
        "nll_from_logs": metrics.nll_from_logs(jnp.log(p), y),
        "brier": metrics.brier(p, y),
        "ece": metrics.ece(p, y),
        "ece10": metrics.ece(p, y, bins=10),
        "mass": metrics.ece(p, y, equal_mass=True),
        "uce": metrics.uce(p, y),
        "uce_mass": metrics.uce(p, y, bins=7, equal_mass=True),
    }
)


def case(seed=0, n=N, k=K, decimals=None):
    rng = np.random.default_rng(seed)
    labels = rng.integers(k, size=n)
    logits = rng.normal(size=(n, k))
    logits[np.arange(n), labels] += 1
    probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    if decimals is not None:
        probs = np.round(probs, decimals)
        probs[:, 0] += 1 - probs.sum(1)
    return probs.astype(np.float32), labels


def gap(scores, outcomes, groups):
    """The definition: bins are lists of rows."""
    return sum(len(g) / len(scores) * abs(outcomes[g].mean() - scores[g].mean()) for g in groups if len(g))


def width_groups(scores, bins):
    edges = np.linspace(0, 1, bins + 1)
    return [
        np.flatnonzero((scores > low) & (scores <= high) | (scores == 0) & (low == 0)) for low, high in pairwise(edges)
    ]


def mass_groups(scores, bins):
    return np.split(np.argsort(scores), np.arange(1, bins) * len(scores) // bins)


def test_against_scikit_learn_and_the_definitions():
    p, y = case()
    got = {name: float(value) for name, value in STATIC(p, y).items()}
    exact = p.astype(np.float64)
    assert got["accuracy"] == pytest.approx(sk.accuracy_score(y, p.argmax(1)), abs=1e-6)
    expected = sk.log_loss(y, exact / exact.sum(1, keepdims=True))
    assert got["nll"] == pytest.approx(expected, rel=1e-6)
    assert got["nll_from_logs"] == pytest.approx(expected, rel=1e-6)
    assert got["brier"] == pytest.approx(((exact - np.eye(K)[y]) ** 2).sum(1).mean(), rel=1e-6)

    confidence, right = exact.max(1), (p.argmax(1) == y).astype(float)
    assert got["ece"] == pytest.approx(gap(confidence, right, width_groups(confidence, 15)), rel=1e-5)
    assert got["mass"] == pytest.approx(gap(confidence, right, mass_groups(confidence, 15)), rel=1e-5)
    entropy = -(exact * np.log(exact)).sum(1) / np.log(K)
    assert got["uce"] == pytest.approx(gap(entropy, 1 - right, width_groups(entropy, 15)), rel=1e-5)
    assert got["uce_mass"] == pytest.approx(gap(entropy, 1 - right, mass_groups(entropy, 7)), rel=1e-5)


def test_ece_is_the_reports_also_for_confidences_on_an_edge():
    p, y = case(decimals=1)  # 0.3 and 0.6 in float32 lie on either side of the edge they are rounded from
    p = np.abs(p)
    got = STATIC(p, y)
    assert float(got["ece10"]) == pytest.approx(reliability(y, p, bins=10).ece, abs=1e-6)
    assert float(got["ece"]) == pytest.approx(reliability(y, p, bins=15).ece, abs=1e-6)


def test_equal_mass_bins_do_not_depend_on_the_order_of_ties():
    p, y = case(decimals=1)
    shuffled = np.random.default_rng(1).permutation(N)
    first, second = STATIC(p, y), STATIC(p[shuffled], y[shuffled])
    for name in ("mass", "uce_mass"):
        assert float(first[name]) == pytest.approx(float(second[name]), abs=1e-7), name
    # All rows tied, one bin of mass or many: the one gap there is.
    flat = np.full((N, K), 1 / K, np.float32)
    assert float(STATIC(flat, y)["mass"]) == pytest.approx(abs((y == 0).mean() - 1 / K), abs=1e-6)


def test_large_and_confident_inputs_keep_float32s_precision():
    n = 100_000
    y = np.arange(n) % 2
    p = np.full((n, 2), (0.9, 0.1), np.float32)
    nll, ece, mass = jax.jit(lambda p, y: (metrics.nll(p, y), metrics.ece(p, y), metrics.ece(p, y, equal_mass=True)))(
        p, y
    )
    exact = p.astype(np.float64)
    assert float(ece) == pytest.approx(exact[0, 0] - 0.5, rel=5e-6)
    assert float(mass) == pytest.approx(exact[0, 0] - 0.5, rel=2e-5)
    assert float(nll) == pytest.approx(-np.log(exact[np.arange(n), y]).mean(), rel=1e-6)

    logs = np.full((N, K), -200.0, np.float32)
    logs[:, 0] = 0
    y = np.ones(N, int)
    assert float(metrics.nll_from_logs(logs, y)) == pytest.approx(200, rel=1e-6)
    assert float(metrics.nll(np.exp(logs), y)) == np.inf


def test_the_summary_is_the_single_metrics_for_pixels_and_half_precision_too():
    p, y = case()
    half = p.astype(jnp.bfloat16)  # these values as they are, but computed with in float32
    single = STATIC(half.astype(np.float32), y)
    single |= {"ece_equal_mass": single["mass"]}
    dense = metrics.classification_metrics(half.reshape(5, 20, 5, K), y.reshape(5, 20, 5))
    names = {"accuracy", "nll", "brier", "ece", "ece_equal_mass", "uce"}
    assert set(dense) == names | {"aurc", "e_aurc", "augrc"}
    for name in names:
        assert float(dense[name]) == pytest.approx(float(single[name]), rel=1e-5), name
    assert jax.eval_shape(metrics.predictive_entropy, p.reshape(5, 20, 5, K)).shape == (5, 20, 5)

    logs = np.log(p)
    logs[0, y[0]] = -1e6
    other = metrics.classification_metrics(p, y, uncertainty=p.max(1), log_probs=logs)
    assert float(other["nll"]) == pytest.approx(2000, rel=1e-3)
    wrong = (p.argmax(1) != y)[np.argsort(p.max(1))]
    assert float(other["aurc"]) == pytest.approx((np.cumsum(wrong) / np.arange(1, N + 1)).mean(), rel=1e-5)
    assert float(other["aurc"]) > float(dense["aurc"]) + 0.1  # the default ranks the right way round


@jax.jit
def entropies(samples):
    mean = samples.mean(0)
    rest = (metrics.expected_entropy, metrics.mutual_information, metrics.variation_ratio)
    return metrics.predictive_entropy(mean), *(function(samples) for function in rest)


def test_entropies_of_samples():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(20, 50, K)) * 2
    samples = (np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)).astype(np.float32)
    samples[0, 0] = np.eye(K)[0]  # 0 log 0 = 0
    exact = samples.astype(np.float64)
    total = -(exact.mean(0) * np.log(exact.mean(0))).sum(-1)
    each = -np.where(exact > 0, exact * np.log(np.where(exact > 0, exact, 1)), 0).sum(-1)
    predictive, expected, information, ratio = entropies(samples)
    np.testing.assert_allclose(predictive, total, rtol=1e-5)
    np.testing.assert_allclose(expected, each.mean(0), rtol=1e-5)
    np.testing.assert_allclose(information, total - each.mean(0), atol=1e-6)
    assert float(information.min()) > 0
    votes = [np.bincount(row, minlength=K).max() / 20 for row in samples.argmax(-1).T]
    np.testing.assert_allclose(ratio, 1 - np.array(votes), atol=1e-6)

    alike = np.broadcast_to(samples[3], samples.shape)
    _, _, information, ratio = entropies(alike)
    assert float(information.min()) >= 0
    assert float(information.max()) < 1e-6
    assert float(ratio.max()) < 1e-6


@pytest.mark.parametrize("bad", ["high", "low", "nan"])
def test_values_that_make_no_sense_give_nan(bad):
    p, y = case()
    if bad == "nan":
        p[3] = np.nan
    else:
        y[3] = K if bad == "high" else -1
    got = STATIC(p, y)
    assert all(np.isnan(float(value)) for value in got.values()), got


@pytest.mark.parametrize(
    ("probs", "labels", "message"),
    [
        ((5,), (5,), r"at least 2 classes, got \(5,\).*stack 1 - p and p"),
        ((5, 1), (5,), "at least 2 classes"),
        ((5, 3), (4,), r"labels must have the shape \(5,\).*got \(4,\)"),
        ((5, 3), (5, 3), r"labels must have the shape \(5,\)"),
        ((0, 3), (0,), "nothing to measure"),
    ],
)
def test_wrong_shapes_are_refused_under_jit_too(probs, labels, message):
    for function in (metrics.nll, jax.jit(metrics.nll), metrics.classification_metrics):
        with pytest.raises(ValueError, match=message):
            function(jnp.ones(probs) / 3, jnp.zeros(labels, int))


def test_other_wrong_arguments_are_refused():
    p, y = case()
    with pytest.raises(ValueError, match=r"labels must be integers.*float32"):
        metrics.brier(p, y.astype(np.float32))
    with pytest.raises(ValueError, match="bins must be at least 1, got 0"):
        metrics.ece(p, y, bins=0)
    with pytest.raises(ValueError, match=r"samples must have the shape \(passes, ..., classes\)"):
        metrics.mutual_information(p)
    with pytest.raises(ValueError, match=r"uncertainty must have the labels' shape, \(500,\), got \(500, 4\)"):
        metrics.classification_metrics(p, y, uncertainty=p)
    with pytest.raises(ValueError, match="log_probs"):
        metrics.classification_metrics(p, y, log_probs=p[:, :1])
