import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision.nn.activations import activation


def test_silu_and_its_derivatives():
    """The derivative has a sigmoid of its own, in which no digit may be lost."""
    x = np.linspace(-40, 40, 801, dtype=np.float32)
    exact = x.astype(np.float64)
    sigmoid = 1 / (1 + np.exp(-exact))
    first = sigmoid * (1 + exact * (1 - sigmoid))
    second = sigmoid * (1 - sigmoid) * (2 + exact * (1 - 2 * sigmoid))
    silu = activation("silu")
    slope = jax.grad(lambda x: silu(x).sum())
    np.testing.assert_array_equal(silu(x), jax.nn.silu(x))
    np.testing.assert_allclose(slope(x), first, rtol=2e-6, atol=1e-7)
    np.testing.assert_allclose(jax.jvp(silu, (x,), (2 * jnp.ones_like(x),))[1], 2 * first, rtol=2e-6, atol=2e-7)
    np.testing.assert_allclose(jax.grad(lambda x: slope(x).sum())(x), second, rtol=1e-5, atol=1e-5)
    for dtype in (jnp.float16, jnp.bfloat16):
        half = jax.grad(lambda x: silu(x).sum().astype(jnp.float32))(jnp.asarray(x, dtype))
        assert half.dtype == dtype
        np.testing.assert_allclose(half.astype(jnp.float32), first, atol=0.01)


def test_gelu_and_its_derivatives():
    x = np.linspace(-12, 12, 801, dtype=np.float32)
    exact = x.astype(np.float64)
    below = np.array([0.5 * math.erfc(-v / math.sqrt(2)) for v in exact])
    density = np.exp(-(exact**2) / 2) / math.sqrt(2 * math.pi)
    gelu = activation("gelu")
    slope = jax.grad(lambda x: gelu(x).sum())
    np.testing.assert_array_equal(gelu(x), jax.nn.gelu(x, approximate=False))
    np.testing.assert_allclose(slope(x), below + exact * density, rtol=1e-6, atol=3e-7)
    np.testing.assert_allclose(jax.grad(lambda x: slope(x).sum())(x), density * (2 - exact**2), atol=2e-6)
    assert jax.grad(lambda x: gelu(x))(jnp.bfloat16(1)).dtype == jnp.bfloat16


@pytest.mark.parametrize("name", ["silu", "gelu"])
def test_a_number_of_python_has_a_derivative(name):
    function = activation(name)
    assert jax.grad(function)(0.7) == jax.grad(function)(jnp.float32(0.7))


def test_an_unknown_name_suggests_the_nearest():
    with pytest.raises(ValueError, match="unknown activation 'sillu'; did you mean 'silu'"):
        activation("sillu")
