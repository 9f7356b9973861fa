import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from jaxvision.uncertainty import metrics

N = 600
STATIC = jax.jit(
    lambda m, v, y: {
        "nll": metrics.gaussian_nll(m, v, y),
        "skill": metrics.nll_skill(m, v, y, 0.5),
        "hindsight": metrics.nll_skill(m, v, y),
        "rmse": metrics.rmse(m, y),
        "crps": metrics.crps(m, v, y),
        "picp": metrics.picp(m, v, y, level=0.9),
        "mpiw": metrics.mpiw(v, level=0.9),
        "interval_score": metrics.interval_score(*metrics.gaussian_interval(m, v, level=0.9), y, level=0.9),
        "area": metrics.miscalibration_area(m, v, y),
        "ence": metrics.ence(m, v, y),
        "uce": metrics.regression_uce(m, v, y),
        "uce_mass": metrics.regression_uce(m, v, y, bins=7, equal_mass=True),
        "curve": metrics.coverage_curve(m, v, y),
        "sparsification": metrics.sparsification(m, v, y),
        "ause": metrics.ause(m, v, y),
        "aurg": metrics.aurg(m, v, y),
    }
)


def case(seed=0, n=N, factor=2.0):
    """Errors whose variance is the predicted one, times a factor."""
    rng = np.random.default_rng(seed)
    mean, variance = rng.normal(size=n), rng.exponential(size=n) + 0.1
    y = mean + rng.normal(size=n) * np.sqrt(factor * variance)
    return mean.astype(np.float32), variance.astype(np.float32), y.astype(np.float32)


def numbers(result):
    return {name: float(value) for name, value in result.items() if not isinstance(value, tuple)}


def test_scores_against_scipy_and_the_definitions():
    m, v, y = (array.astype(np.float64) for array in case())
    got = numbers(STATIC(*case()))
    expected = -stats.norm.logpdf(y, m, np.sqrt(v)).mean()
    assert got["nll"] == pytest.approx(expected, rel=1e-6)
    assert got["skill"] == pytest.approx(-stats.norm.logpdf(y, m, np.sqrt(0.5)).mean() - expected, rel=1e-5)
    best = -stats.norm.logpdf(y, m, np.sqrt(((y - m) ** 2).mean())).mean()
    assert got["hindsight"] == pytest.approx(best - expected, rel=1e-4)
    assert got["rmse"] == pytest.approx(np.sqrt(((y - m) ** 2).mean()), rel=1e-6)

    low, high = stats.norm.interval(0.9, m, np.sqrt(v))
    assert got["picp"] == pytest.approx(((low <= y) & (y <= high)).mean(), abs=1e-6)
    assert got["mpiw"] == pytest.approx((high - low).mean(), rel=1e-6)
    missed = np.where(y < low, low - y, np.where(y > high, y - high, 0))
    assert got["interval_score"] == pytest.approx((high - low + 20 * missed).mean(), rel=1e-5)


def test_crps_is_the_integral_that_defines_it():
    def integral(m, s, y):
        below = integrate.quad(lambda x: stats.norm.cdf(x, m, s) ** 2, -np.inf, y)[0]
        return below + integrate.quad(lambda x: stats.norm.sf(x, m, s) ** 2, y, np.inf)[0]

    cases = [(0.0, 1.0, 0.0), (0.5, 0.3, 1.4), (1.0, 2.0, -3.0)]
    expected = np.mean([integral(*numbers) for numbers in cases])
    m, s, y = np.array(cases, np.float32).T
    assert float(metrics.crps(m, s**2, y)) == pytest.approx(expected, rel=1e-5)


def test_calibration_against_the_definitions():
    m, v, y = (array.astype(np.float64) for array in case())
    got = STATIC(*case())
    levels = np.linspace(0, 1, 21)
    z = np.abs(y - m) / np.sqrt(v)
    np.testing.assert_allclose(got["curve"].levels, levels, rtol=1e-6)
    np.testing.assert_allclose(
        got["curve"].observed, (z <= stats.norm.ppf((1 + levels) / 2)[:, None]).mean(1), atol=1e-6
    )
    # the area on a grid so fine that the steps between its points do not matter
    grid = (np.arange(200_000) + 0.5) / 200_000
    observed = np.searchsorted(np.sort(stats.norm.cdf(z) * 2 - 1), grid, side="right") / N
    assert float(got["area"]) == pytest.approx(np.abs(observed - grid).mean(), abs=1e-6)

    order = np.argsort(v)
    squares = (y - m) ** 2
    groups = np.split(order, np.arange(1, 10) * N // 10)
    gaps = [abs(np.sqrt(v[g].mean()) - np.sqrt(squares[g].mean())) / np.sqrt(v[g].mean()) for g in groups]
    assert float(got["ence"]) == pytest.approx(np.mean(gaps), rel=1e-5)
    groups = np.split(order, np.arange(1, 7) * N // 7)
    expected = sum(len(g) / N * abs(squares[g].mean() - v[g].mean()) for g in groups)
    assert float(got["uce_mass"]) == pytest.approx(expected, rel=1e-5)
    place = np.clip(np.ceil((v - v.min()) / np.ptp(v) * 10).astype(int) - 1, 0, 9)
    groups = [np.flatnonzero(place == b) for b in range(10)]
    expected = sum(len(g) / N * abs(squares[g].mean() - v[g].mean()) for g in groups if len(g))
    assert float(got["uce"]) == pytest.approx(expected, rel=1e-4)


def test_the_right_variance_is_the_best_one():
    m, v, y = case(factor=1.0, seed=1)
    right, small, large = (numbers(STATIC(m, v * factor, y)) for factor in (1, 0.25, 4))
    for name in ("nll", "crps", "interval_score", "area", "ence", "uce"):
        assert right[name] < min(small[name], large[name]), name
    # Exactly half of the square is the most there can be: nothing covered at any level, or everything at all of them.
    assert numbers(STATIC(m, v * 1e12, y))["area"] == pytest.approx(0.5, abs=1e-4)
    assert numbers(STATIC(m, v * 1e-12, y))["area"] == pytest.approx(0.5, abs=1e-4)


def test_sparsification_against_the_definition():
    m, v, y = (array.astype(np.float64) for array in case())
    got = STATIC(*case())
    squares = (y - m) ** 2

    def curve(key):
        ranked = squares[np.argsort(-key)]
        return np.array([np.sqrt(ranked[i:].mean()) for i in range(N)]) / np.sqrt(squares.mean())

    np.testing.assert_allclose(got["sparsification"].removed, np.arange(N) / N, rtol=1e-6)
    np.testing.assert_allclose(got["sparsification"].error, curve(v), rtol=1e-5)
    np.testing.assert_allclose(got["sparsification"].oracle, curve(squares), rtol=1e-5)
    assert float(got["ause"]) == pytest.approx((curve(v) - curve(squares)).mean(), rel=1e-5)
    assert float(got["aurg"]) == pytest.approx(1 - curve(v).mean(), rel=1e-5)

    perfect = STATIC(m, squares, y)
    assert float(perfect["ause"]) == pytest.approx(0, abs=1e-6)
    constant = STATIC(m, np.ones(N, np.float32), y)
    assert float(constant["aurg"]) == pytest.approx(0, abs=1e-5)  # as good as random
    exact = STATIC(m, v, m)
    assert (float(exact["ause"]), float(exact["aurg"])) == (0, 0)


def test_tied_variances_have_no_order():
    m, v, y = case()
    v = np.round(v * 2) / 2 + 0.5
    shuffled = np.random.default_rng(0).permutation(N)
    first, second = numbers(STATIC(m, v, y)), numbers(STATIC(m[shuffled], v[shuffled], y[shuffled]))
    assert first == pytest.approx(second, rel=2e-6, abs=1e-6)


def test_no_variance_at_all():
    m, _, y = case()
    y[0] = m[0]
    got = numbers(STATIC(m, np.zeros(N, np.float32), y))
    assert got["nll"] == np.inf
    assert got["skill"] == -np.inf
    assert got["crps"] == pytest.approx(np.abs(y - m).mean(), rel=1e-6)
    assert got["picp"] == pytest.approx(1 / N)
    assert got["ence"] == np.inf
    # The one target that is hit is within every interval, the others within none.
    assert got["area"] == pytest.approx(0.5, abs=2 / N)
    exact = numbers(STATIC(m, np.zeros(N, np.float32), m))
    assert (exact["crps"], exact["picp"], exact["ence"], exact["uce"], exact["area"]) == (0, 1, 0, 0, 0.5)


def test_large_inputs_keep_float32s_precision():
    m, v, y = case(n=100_000)
    names = ("gaussian_nll", "miscalibration_area", "ence", "ause")
    got = jax.jit(lambda *arrays: {name: getattr(metrics, name)(*arrays) for name in names})(m, v, y)
    m, v, y = (array.astype(np.float64) for array in (m, v, y))
    assert float(got["gaussian_nll"]) == pytest.approx(-stats.norm.logpdf(y, m, np.sqrt(v)).mean(), rel=2e-6)
    needed = np.sort(stats.norm.cdf(np.abs(y - m) / np.sqrt(v)) * 2 - 1)
    assert float(got["miscalibration_area"]) == pytest.approx(
        np.abs((np.arange(100_000) + 0.5) / 100_000 - needed).mean(), rel=1e-4
    )
    squares = (y - m) ** 2
    groups = np.split(np.argsort(v), 10)
    gaps = [abs(np.sqrt(v[g].mean()) - np.sqrt(squares[g].mean())) / np.sqrt(v[g].mean()) for g in groups]
    assert float(got["ence"]) == pytest.approx(np.mean(gaps), rel=1e-5)
    kept = np.arange(1, 100_001)
    curves = [np.sqrt(np.cumsum(squares[np.argsort(key)]) / kept / squares.mean()) for key in (v, squares)]
    assert float(got["ause"]) == pytest.approx((curves[0] - curves[1]).mean(), rel=1e-5)


def test_the_summary_is_the_single_metrics_for_any_axes():
    m, v, y = case()
    single = numbers(STATIC(m, v, y))
    got = metrics.regression_metrics(*(array.reshape(6, 10, 10) for array in (m, v, y)), level=0.9)
    assert set(got) == {
        *("nll", "nll_skill", "rmse", "crps", "picp", "mpiw", "interval_score"),
        *("miscalibration_area", "ence", "uce", "ause", "aurg"),
    }
    single |= {"nll_skill": single["hindsight"], "miscalibration_area": single["area"]}
    for name, value in got.items():
        assert float(value) == pytest.approx(single[name], rel=1e-5), name


def test_pinball_and_intervals():
    y = np.array([1.0, 2, 3, 10], np.float32)
    q = np.full(4, 2.5, np.float32)
    assert float(metrics.pinball(q, y, level=0.9)) == pytest.approx((0.15 + 0.05 + 0.45 + 6.75) / 4)
    low, high = np.ones(4, np.float32), np.full(4, 3, np.float32)
    assert float(metrics.interval_coverage(low, high, y)) == 0.75  # ends included
    assert float(metrics.interval_score(low, high, y, level=0.5)) == pytest.approx(2 + 4 * 7 / 4)
    assert np.isnan(metrics.interval_coverage(low * np.nan, high, y))


def test_nan_gives_nan():
    arrays = case()
    for position in range(3):
        bad = list(case())
        bad[position] = np.where(np.arange(N) == 5, np.nan, bad[position]).astype(np.float32)
        got = STATIC(*bad)
        for name, value in numbers(got).items():
            if (name, position) not in {("rmse", 1), ("mpiw", 0), ("mpiw", 2)}:
                assert np.isnan(value), (name, position)
        assert np.isnan(got["curve"].observed).all()
    assert not any(np.isnan(value) for value in numbers(STATIC(*arrays)).values())


def test_wrong_arguments_are_refused_under_jit_too():
    ones = jnp.ones(5)
    message = r"one shape: mean \(5,\), variance \(5, 1\), y \(5,\).*would broadcast"
    for function in (metrics.gaussian_nll, jax.jit(metrics.crps), metrics.regression_metrics, metrics.ause):
        with pytest.raises(ValueError, match=message):
            function(ones, ones[:, None], ones)
    for level in (0, 1, 95):
        with pytest.raises(ValueError, match=f"level must lie between 0 and 1, both excluded, got {level}"):
            metrics.picp(ones, ones, ones, level=level)
    with pytest.raises(ValueError, match="bins must be at least 1"):
        metrics.ence(ones, ones, ones, bins=0)
    with pytest.raises(ValueError, match="levels must be a vector"):
        metrics.coverage_curve(ones, ones, ones, 0.5)
