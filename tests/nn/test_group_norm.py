import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxvision.nn.evo_norm import EvoNorm2dS0
from jaxvision.nn.filter_response_norm import FilterResponseNorm
from jaxvision.nn.group_norm import GroupNorm

RNG = np.random.default_rng(0)
X = 3 + 2 * RNG.standard_normal((2, 4, 5, 12))
SCALE, BIAS, GATE = RNG.standard_normal((3, 12))


def built(norm, **more):
    for name, value in {"scale": SCALE, "bias": BIAS, **more}.items():
        getattr(norm, name)[...] = jnp.asarray(value, jnp.float32)
    return norm


def group_axes(x, groups):
    return x.reshape(*x.shape[:-1], groups, -1)


@pytest.mark.parametrize(
    ("options", "groups"), [({"num_groups": 3}, 3), ({"group_size": 2}, 6), ({"num_groups": 1}, 1)]
)
def test_group_norm(options, groups):
    grouped = group_axes(X, groups)
    mean, var = grouped.mean((1, 2, 4), keepdims=True), grouped.var((1, 2, 4), keepdims=True)
    expected = ((grouped - mean) / np.sqrt(var + 1e-2)).reshape(X.shape) * SCALE + BIAS
    norm = built(GroupNorm(12, **options, eps=1e-2, rngs=nnx.Rngs(0)))
    np.testing.assert_allclose(norm(X.astype(np.float32), True), expected, atol=1e-5)


def test_group_norm_survives_a_large_mean():
    x = (1e4 + RNG.standard_normal((1, 16, 16, 8))).astype(np.float32)
    y = GroupNorm(8, 2, rngs=nnx.Rngs(0))(x)
    np.testing.assert_allclose(np.asarray(y).std(), 1, rtol=1e-2)


@pytest.mark.parametrize(("options", "groups"), [({"groups": 4}, 4), ({"group_size": 6}, 2)])
def test_evo_norm(options, groups):
    std = np.sqrt(group_axes(X, groups).var((1, 2, 4), keepdims=True) + 1e-2)
    activated = X / (1 + np.exp(-X * GATE))
    expected = (group_axes(activated, groups) / std).reshape(X.shape) * SCALE + BIAS
    norm = built(EvoNorm2dS0(12, **options, eps=1e-2, rngs=nnx.Rngs(0)), v=GATE)
    np.testing.assert_allclose(norm(X.astype(np.float32), True), expected, atol=1e-5)


def test_evo_norm_without_its_activation_is_affine():
    norm = built(EvoNorm2dS0(12, 4, apply_act=False, rngs=nnx.Rngs(0)))
    assert norm.v is None
    np.testing.assert_allclose(norm(X.astype(np.float32)), X * SCALE + BIAS, atol=1e-5)


def test_filter_response_norm():
    plain = X / np.sqrt((X**2).mean((1, 2), keepdims=True) + 1e-2) * SCALE + BIAS
    norm = built(FilterResponseNorm(12, eps=1e-2, rngs=nnx.Rngs(0)), tau=GATE)
    np.testing.assert_allclose(norm(X.astype(np.float32), True), np.maximum(plain, GATE), atol=1e-5)
    norm = built(FilterResponseNorm(12, eps=1e-2, apply_act=False, rngs=nnx.Rngs(0)))
    np.testing.assert_allclose(norm(X.astype(np.float32)), plain, atol=1e-5)


@pytest.mark.parametrize("layer", [GroupNorm, EvoNorm2dS0])
def test_groups_must_divide_the_channels(layer):
    with pytest.raises(ValueError, match="5, expected a divisor of the 12 channels"):
        layer(12, 5, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="group_size is 8"):
        layer(12, group_size=8, rngs=nnx.Rngs(0))


@pytest.mark.parametrize("layer", [GroupNorm, EvoNorm2dS0, FilterResponseNorm])
def test_statistics_are_float32_in_bfloat16(layer):
    """256 pixels of 300 each: their squares' sum would lose all digits in bfloat16."""
    x = jnp.asarray(300 + X[:1, :, :, :1] * np.ones((1, 4, 5, 32)), jnp.bfloat16)
    y = layer(32, dtype=jnp.bfloat16, rngs=nnx.Rngs(0))(x)
    assert y.dtype == jnp.bfloat16
    exact = layer(32, rngs=nnx.Rngs(0))(x.astype(jnp.float32))
    np.testing.assert_allclose(y.astype(jnp.float32), exact, atol=1e-2 * np.abs(exact).max())
