import json
import math
import warnings

import jax
import numpy as np
import pytest

from jaxvision.uncertainty import conformal

N, K = 200, 6


def drawn(seed, n=N, sharpen=1.0):
    """Rows whose labels follow the probabilities, which are then sharpened: miscalibrated, but exchangeable."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, K)) * 1.5
    true = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = np.array([rng.choice(K, p=row) for row in true])
    probs = true**sharpen
    return (probs / probs.sum(1, keepdims=True)).astype(np.float32), labels


FITS = {
    "lac": conformal.fit_lac,
    "aps": conformal.fit_aps,
    "raps": lambda *args: conformal.fit_raps(*args, penalty=0.1, k_reg=2),
}


def ranked_score(row, label, share, penalty=0.0, k_reg=0):
    """Of APS and RAPS, as the papers write it."""
    order = np.argsort(-row, kind="stable")
    rank = int(np.flatnonzero(order == label)[0])
    return min(row[order[:rank]].sum() + share * row[label], 1) + penalty * max(rank + 1 - k_reg, 0)


@pytest.mark.parametrize("alpha", [0.1, 0.4])
def test_the_sets_are_the_papers(alpha):
    probs, labels = drawn(0)
    new, _ = drawn(1)
    key, other_key = jax.random.key(0), jax.random.key(1)
    shares = np.asarray(jax.random.uniform(key, (N, 1)))[:, 0]
    new_shares = np.asarray(jax.random.uniform(other_key, (N, 1)))[:, 0]
    ones = np.ones(N)
    rank = math.ceil((N + 1) * (1 - alpha))

    def sets(score, u, v):
        q = np.sort([score(row, label, share) for row, label, share in zip(probs, labels, u, strict=True)])[rank - 1]
        return np.array(
            [[score(row, k, share) <= q + 1e-6 for k in range(K)] for row, share in zip(new, v, strict=True)]
        )

    def lac(row, label, share):
        return 1 - row[label]

    def raps(*args):
        return ranked_score(*args, 0.1, 2)

    for fit, score in (("lac", lac), ("aps", ranked_score), ("raps", raps)):
        got = FITS[fit](probs, labels, alpha).predict_sets(new)
        np.testing.assert_array_equal(got, sets(score, ones, ones), err_msg=fit)
    for fit, score in (("aps", ranked_score), ("raps", raps)):
        got = FITS[fit](probs, labels, alpha, key).predict_sets(new, other_key)
        np.testing.assert_array_equal(got, sets(score, shares, new_shares), err_msg=fit)


def test_coverage_on_exchangeable_rows_though_probabilities_are_wrong():
    """Over fits and new rows, coverage is at least 1 - alpha and, where scores do not tie, at most 1/(n + 1) more."""
    alpha, fits = 0.2, 60
    coverage = {}
    for seed in range(fits):
        probs, labels = drawn(2 * seed, sharpen=3.0)
        new, truth = drawn(2 * seed + 1, sharpen=3.0)
        for name, fit in FITS.items():
            coverage.setdefault(name, []).append(fit(probs, labels, alpha).evaluate(new, truth)["coverage"])
        keys = jax.random.split(jax.random.key(seed))
        sets = conformal.fit_aps(probs, labels, alpha, keys[0])
        coverage.setdefault("randomised", []).append(sets.evaluate(new, truth, keys[1])["coverage"])
    # A fit's coverage has the variance of a beta distribution, and the share of N rows that of a binomial one.
    bound = 5 * math.sqrt(2 * alpha * (1 - alpha) / N / fits)
    for name, shares in coverage.items():
        assert np.mean(shares) > 1 - alpha - bound, name
    for name in ("lac", "randomised"):
        assert np.mean(coverage[name]) < 1 - alpha + 1 / (N + 1) + bound, name
    # What it corrects: the classes that the wrong probabilities themselves would sum to 1 - alpha miss far more.
    order = np.argsort(-new, axis=1)
    before = np.cumsum(np.take_along_axis(new, order, 1), 1) - np.take_along_axis(new, order, 1)
    naive = np.take_along_axis(before < 1 - alpha, np.argsort(order, 1), 1)
    assert naive[np.arange(N), truth].mean() < 1 - alpha - 0.1


def test_intervals_cover_though_the_standard_deviations_are_wrong():
    rng = np.random.default_rng(0)
    alpha, fits, shape = 0.1, 300, (N, 2)
    shares, widths = [], {"right": [], "constant": []}
    for _ in range(fits):
        mean, spread = rng.normal(size=(2, *shape)), rng.exponential(size=(2, *shape)) + 0.1
        y = mean + spread * rng.standard_t(5, size=(2, *shape)) * np.array([1, 10])
        right = conformal.fit_residuals(mean[0], spread[0] / 7, y[0], alpha)
        assert right.quantile.shape == (2,)
        low, high = map(np.asarray, right.interval(mean[1], spread[1] / 7))
        shares.append(((low <= y[1]) & (y[1] <= high)).mean(0))
        constant = conformal.fit_residuals(mean[0], np.ones(shape), y[0], alpha)
        widths["right"].append(right.evaluate(mean[1], spread[1] / 7, y[1])["mean_width"])
        widths["constant"].append(constant.evaluate(mean[1], np.ones(shape), y[1])["mean_width"])
    bound = 5 * math.sqrt(2 * alpha * (1 - alpha) / N / fits)
    each = np.mean(shares, 0)  # of each output by itself, though one's errors are ten times the other's
    assert (each > 1 - alpha - bound).all()
    assert (each < 1 - alpha + 1 / (N + 1) + bound).all()
    assert np.mean(widths["right"]) < 0.9 * np.mean(widths["constant"])


@pytest.mark.parametrize(
    ("n", "alpha", "rank"),
    [
        (9, 0.1, 9),
        (19, 0.05, 19),
        (99, 0.1, 90),
        (99, 0.93, 7),
        (9, 0.7, 3),  # 10 * (1 - 0.7) is 3.0000000000000004 in floats
        (10, 0.1, 10),
        (11, 0.1, 11),
        (1, 0.5, 1),
        (999, 0.001, 999),
    ],
)
def test_the_quantile_is_the_finite_sample_one(n, alpha, rank):
    scores = np.random.default_rng(0).permutation(n) + 1.0
    assert conformal.conformal_quantile(scores, alpha) == rank


def test_too_few_rows_give_everything():
    probs, labels = drawn(0)
    with pytest.warns(UserWarning, match=r"8 rows are too few for alpha = 0.1: .* At least 9 rows"):
        sets = conformal.fit_lac(probs[:8], labels[:8], 0.1)
    assert sets.quantile == math.inf
    assert np.asarray(sets.predict_sets(probs)).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert conformal.fit_lac(probs[:9], labels[:9], 0.1).quantile < math.inf

    mean = np.zeros((18, 2), np.float32)
    with pytest.warns(UserWarning, match="At least 19 rows"):
        intervals = conformal.fit_residuals(mean, mean + 1, mean + 1, 0.05)
    low, high = intervals.interval(mean, mean)  # 0 times infinity is not NaN here
    assert (np.asarray(low) == -np.inf).all()
    assert (np.asarray(high) == np.inf).all()
    for predictor in (sets, intervals):
        text = json.dumps(predictor.to_json(), allow_nan=False)
        assert np.isinf(conformal.from_json(json.loads(text)).quantile).all()


def test_to_json_and_back():
    probs, labels = drawn(0)
    key = jax.random.key(0)
    for sets in (
        conformal.fit_lac(probs, labels, 0.1),
        conformal.fit_aps(probs, labels, 0.1, key),
        conformal.fit_raps(probs, labels, 0.1, penalty=0.2, k_reg=1),
    ):
        assert conformal.from_json(json.loads(json.dumps(sets.to_json()))) == sets
    for shape in ((N,), (N, 2)):
        mean, std, y = np.random.default_rng(0).exponential(size=(3, *shape))
        intervals = conformal.fit_residuals(mean, std, y, 0.1)
        again = conformal.from_json(json.loads(json.dumps(intervals.to_json())))
        assert (again.alpha, again.num_rows) == (intervals.alpha, intervals.num_rows)
        np.testing.assert_array_equal(again.interval(mean, std), intervals.interval(mean, std))
    with pytest.raises(ValueError, match=r"unknown conformal method 'rasp'.*did you mean 'raps'"):
        conformal.from_json({"method": "rasp"})
    with pytest.raises(ValueError, match=r"no document of a conformal lac predictor.*quantile"):
        conformal.from_json({"method": "lac"})
    with pytest.raises(ValueError, match=r"no document of a conformal residuals predictor.*num_rows"):
        conformal.from_json({"method": "residuals", "alpha": 0.1, "quantile": 1.0})


def test_sets_under_jit_and_of_tied_probabilities():
    probs, labels = drawn(0)
    for name in FITS:
        sets = FITS[name](probs, labels, 0.1)
        np.testing.assert_array_equal(jax.jit(sets.predict_sets)(probs), sets.predict_sets(probs))
    # Certain and right: the score of the label is 1 in the first rank, and in the last one of a flat row.
    certain = np.eye(K, dtype=np.float32)[labels]
    aps = conformal.fit_aps(certain, labels, 0.1)
    assert aps.quantile == 1
    assert np.asarray(aps.predict_sets(probs)).all()  # though some rows sum to a little more than 1
    assert aps.evaluate(np.full((N, K), 1 / K, np.float32), labels)["coverage"] == 1
    assert conformal.fit_lac(certain, labels, 0.1).evaluate(np.full((N, K), 1 / K, np.float32), labels) == {
        "coverage": 0,
        "mean_size": 0,
        "empty": 1,
    }


def test_wrong_arguments_are_refused():
    probs, labels = drawn(0)
    for alpha in (0, 1, -0.1, 10):
        for fit in FITS.values():
            with pytest.raises(ValueError, match="alpha must lie between 0 and 1"):
                fit(probs, labels, alpha)
    with pytest.raises(ValueError, match=r"example 0 sum to 2.*after softmax, not logits"):
        conformal.fit_aps(probs * 2, labels, 0.1)
    with pytest.raises(ValueError, match=r"labels must have the shape \(200,\)"):
        conformal.fit_lac(probs, labels[:-1], 0.1)
    with pytest.raises(ValueError, match="label of example 0 is 6"):
        conformal.fit_lac(probs, labels * 0 + K, 0.1)
    with pytest.raises(ValueError, match="penalty and k_reg must be at least 0"):
        conformal.fit_raps(probs, labels, 0.1, penalty=-1)

    sets = conformal.fit_lac(probs, labels, 0.1)
    with pytest.raises(ValueError, match=r"probs must have the shape \(n, 6\), got \(200, 5\)"):
        jax.jit(sets.predict_sets)(probs[:, 1:])
    with pytest.raises(ValueError, match="not logits"):
        sets.predict_sets(np.log(probs))
    with pytest.raises(ValueError, match="are not randomised"):
        sets.predict_sets(probs, jax.random.key(0))
    with pytest.raises(ValueError, match="are randomised: give predict_sets a key"):
        conformal.fit_aps(probs, labels, 0.1, jax.random.key(0)).predict_sets(probs)

    ones = np.ones(20, np.float32)
    with pytest.raises(ValueError, match=r"one shape.*mean \(20,\), std \(20, 1\)"):
        conformal.fit_residuals(ones, ones[:, None], ones, 0.1)
    with pytest.raises(ValueError, match="standard deviations must be positive, got 0"):
        conformal.fit_residuals(ones, ones * 0, ones, 0.1)
    with pytest.raises(ValueError, match="y of 1 of 20 examples are not finite"):
        conformal.fit_residuals(ones, ones, np.where(np.arange(20) == 3, np.nan, 1), 0.1)
    with pytest.raises(ValueError, match="no row to fit on"):
        conformal.fit_residuals(ones[:0], ones[:0], ones[:0], 0.1)
    intervals = conformal.fit_residuals(ones, ones, ones * 2, 0.1)
    with pytest.raises(ValueError, match=r"mean and std must have the shape \(n\), got \(20, 1\)"):
        intervals.interval(ones[:, None], ones[:, None])
