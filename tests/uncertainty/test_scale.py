import json
from statistics import NormalDist

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision.uncertainty.scale import Scale, ScaleError, nll, optimal_factor, profile
from jaxvision.uncertainty.scale_fit import fit_scale
from jaxvision.uncertainty.search import minimise, parabola


def data(n=400, seed=0, noise=0.3):
    """Errors whose variance is partly what the passes say: 4 v + noise."""
    rng = np.random.default_rng(seed)
    mean, v = rng.normal(size=n), rng.gamma(1.5, 0.1, size=n)
    return mean, v, mean + rng.normal(size=n) * np.sqrt(4 * v + noise)


def loss(scale, mean, v, y, u=None):
    return nll(mean, scale.variance(v, u), y)


def test_the_papers_factor_minimises_the_likelihood():
    mean, v, y = data()
    scale = fit_scale("variance", mean, v, y)
    assert scale.factor == pytest.approx(np.mean((y - mean) ** 2 / v))
    best = nll(mean, scale.factor * v, y)
    for direction in (0.99, 1.01):
        farther = [nll(mean, scale.factor * direction**step * v, y) for step in (1, 2, 8, 64)]
        assert best < farther[0] < farther[1] < farther[2] < farther[3]
    assert np.mean((y - mean) ** 2 / scale.variance(v)) == pytest.approx(1, abs=1e-12)
    assert best == pytest.approx(0.5 * (profile((y - mean) ** 2, v) + 1 + np.log(2 * np.pi)), abs=1e-12)


def test_nll_is_the_gaussians():
    # scipy.stats.norm(0.5, 2).logpdf(1.5) = -log(2) - log(2 pi)/2 - 1/8
    assert nll(np.array([0.5]), np.array([4.0]), np.array([1.5])) == pytest.approx(
        np.log(2) + np.log(2 * np.pi) / 2 + 0.125
    )


@pytest.mark.parametrize("kind", ["variance", "relaxed", "affine", "power", "constant"])
def test_scaled_variances_do_not_depend_on_the_unit_of_the_passes(kind):
    """C(a² v) = C(v) / a²: a network whose passes spread twice as wide gets the same predictive variance."""
    mean, v, y = data()
    one, other = fit_scale(kind, mean, v, y), fit_scale(kind, mean, 9 * v, y)
    np.testing.assert_allclose(one.variance(v), other.variance(9 * v), rtol=1e-5)
    if kind == "variance":
        assert other.factor == pytest.approx(one.factor / 9, rel=1e-12)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("noise", [0.0, 0.3, 30.0])
def test_affine_and_power_include_the_papers_and_the_constant(seed, noise):
    mean, v, y = data(60, seed, noise)
    losses = {kind: loss(fit_scale(kind, mean, v, y), mean, v, y) for kind in ("variance", "constant")}
    bound = min(losses.values()) + 1e-9
    for kind in ("affine", "power"):
        assert loss(fit_scale(kind, mean, v, y), mean, v, y) <= bound


def test_affine_finds_what_made_the_errors():
    mean, v, y = data(200_000)
    scale = fit_scale("affine", mean, v, y)
    assert (scale.factor, scale.offset) == (pytest.approx(4, rel=0.03), pytest.approx(0.3, rel=0.05))


def test_affine_is_a_minimum_in_both_directions():
    mean, v, y = data()
    scale = fit_scale("affine", mean, v, y)
    best = loss(scale, mean, v, y)
    for factor, offset in ((1.01, 1), (0.99, 1), (1, 1.01), (1, 0.99)):
        assert nll(mean, factor * scale.factor * v + offset * scale.offset, y) > best


def test_power_finds_what_made_the_errors():
    rng = np.random.default_rng(0)
    v = rng.gamma(1.5, 0.1, size=200_000)
    y = rng.normal(size=v.shape) * np.sqrt(3 * v**0.4)
    scale = fit_scale("power", np.zeros_like(v), v, y)
    assert (scale.factor, scale.power) == (pytest.approx(3, rel=0.02), pytest.approx(0.4, abs=0.01))


def test_the_relaxed_factor_makes_the_area_zero():
    rng = np.random.default_rng(1)
    v = rng.gamma(2, 0.1, size=4000)
    errors = rng.standard_t(2.5, size=v.shape) * np.sqrt(v)  # heavy tails: C* is far too wide for most rows
    zero = np.zeros_like(v)

    def area(scale):
        levels = np.arange(10) / 10
        half = np.array([NormalDist().inv_cdf((1 + level) / 2) for level in levels])
        inside = [np.mean(np.abs(errors) <= h * np.sqrt(scale.variance(v))) for h in half]
        return np.trapezoid(np.array(inside) - levels, levels)

    paper, relaxed = fit_scale("variance", zero, v, errors), fit_scale("relaxed", zero, v, errors)
    assert area(paper) > 0.05
    assert abs(area(relaxed)) < 2e-4
    assert relaxed.factor < paper.factor
    assert loss(relaxed, zero, v, errors) > loss(paper, zero, v, errors)
    # Of three rows the area is a coarse step function that never comes near 0: the search ends all the same.
    assert np.isfinite(fit_scale("relaxed", zero[:3], v[:3], errors[:3]).factor)


def test_a_heteroscedastic_head_keeps_its_own_variance():
    rng = np.random.default_rng(0)
    n = 100_000
    mean, v, u = np.zeros(n), rng.gamma(1.5, 0.1, size=n), rng.gamma(3, 0.1, size=n)
    y = rng.normal(size=n) * np.sqrt(5 * v + u)
    scale = fit_scale("variance", mean, v, y, aleatoric=u)
    assert (scale.factor, scale.offset) == (pytest.approx(5, rel=0.05), 1)
    scaled = fit_scale("affine", mean, v, rng.normal(size=n) * np.sqrt(5 * v + 2 * u), aleatoric=u)
    assert (scaled.factor, scaled.offset) == (pytest.approx(5, rel=0.05), pytest.approx(2, rel=0.05))
    # Passes that say nothing are left out, not made the best of.
    none = fit_scale("variance", mean, v, rng.normal(size=n) * np.sqrt(0.9 * u), aleatoric=u)
    assert none.factor == 0
    epistemic, aleatoric = none.parts(v, u)
    assert not epistemic.any()
    np.testing.assert_array_equal(aleatoric, u)
    with pytest.raises(ValueError, match="unknown scale 'power' for a heteroscedastic head"):
        fit_scale("power", mean, v, y, aleatoric=u)


def test_one_scale_an_output():
    mean, v, y = data()
    both = [np.stack([array, factor * array], 1) for array, factor in ((mean, 1), (v, 7), (y, 1))]
    scale = fit_scale("affine", *both, per_output=True)
    for column in range(2):
        one = fit_scale("affine", *(array[:, column] for array in both))
        assert (scale.factor[column], scale.offset[column]) == (one.factor, one.offset)
    shared = fit_scale("affine", *both)
    assert isinstance(shared.factor, float)
    assert loss(scale, *both) < loss(shared, *both)
    assert (scale.num_parameters, shared.num_parameters) == (4, 2)


@pytest.mark.parametrize("kind", ["variance", "affine", "power", "constant"])
def test_a_scale_survives_json_and_jit(kind):
    mean, v, y = data()
    two = [np.stack([array, array], 1) for array in (mean, v, y)]
    for scale, values in ((fit_scale(kind, mean, v, y), v), (fit_scale(kind, *two, per_output=True), two[1])):
        again = Scale.from_json(json.loads(json.dumps(scale.to_json())))
        assert again == scale
        traced = jax.jit(again.variance)(jnp.asarray(values, jnp.float32))
        assert traced.dtype == jnp.float32
        np.testing.assert_allclose(traced, scale.variance(values), rtol=1e-5)


def test_zero_variances_have_a_floor():
    mean, v, y = data()
    v[:5] = 0
    scale = fit_scale("variance", mean, v, y, var_floor=0.01)
    assert scale.floor == pytest.approx(0.01 * v.mean())
    assert scale.factor == pytest.approx(optimal_factor((y - mean) ** 2, np.maximum(v, scale.floor)))
    assert scale.variance(np.zeros(1))[0] == pytest.approx(scale.factor * scale.floor)
    with pytest.raises(ScaleError, match="set a var_floor"):
        fit_scale("variance", mean, v, y, var_floor=0)


def test_what_cannot_be_fitted_says_why():
    mean, v, y = data(20)
    with pytest.raises(ScaleError, match=r"zero everywhere: the sites have no effect on the output .* larger rate"):
        fit_scale("variance", mean, 0 * v, y)
    with pytest.raises(ScaleError, match="all errors are zero"):
        fit_scale("variance", y, v, y)
    with pytest.raises(ScaleError, match="variance: not finite"):
        fit_scale("affine", mean, v * np.nan, y)
    with pytest.raises(ValueError, match="one shape"):
        fit_scale("affine", mean[:, None], v, y)
    with pytest.raises(ValueError, match="unknown scale 'afine'; did you mean 'affine'"):
        fit_scale("afine", mean, v, y)
    with pytest.raises(ValueError, match="a scale has"):
        Scale.from_json({"factor": 1})


def test_the_search_finds_the_lower_of_two_minima():
    x, y = minimise(lambda x: (x * x - 1) ** 2 + 0.1 * x, np.linspace(-3, 3, 13).tolist())
    assert x < 0
    assert 4 * x * (x * x - 1) + 0.1 == pytest.approx(0, abs=1e-5)
    assert y == pytest.approx((x * x - 1) ** 2 + 0.1 * x)
    assert minimise(lambda x: x, [0.0, 1.0, 2.0]) == (0.0, 0.0)  # an end, exactly


def test_the_parabola_is_exact_for_a_parabola():
    x = np.linspace(-2, 2, 9)
    assert parabola(x, (x - 0.3) ** 2 + 1) == (pytest.approx(0.3), pytest.approx(1))
    assert parabola(x, x) == (-2, -2)
