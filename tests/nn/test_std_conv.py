import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxvision.nn.conv import conv2d
from jaxvision.nn.std_conv import StdConv2d, standardise

X = np.random.default_rng(0).standard_normal((2, 9, 8, 4)).astype(np.float32)


@pytest.mark.parametrize(
    "options",
    [{"stride": 2, "padding": 1}, {"padding": "SAME", "stride": 2}, {"groups": 2}, {"dilation": 2, "use_bias": False}],
)
@pytest.mark.parametrize("eps", [1e-8, 1e-2])
def test_the_kernel_has_mean_0_and_variance_1(options, eps):
    layer = StdConv2d(4, 6, 3, eps=eps, **options, rngs=nnx.Rngs(0))
    kernel = np.asarray(layer.kernel[...], np.float64)
    mean, var = kernel.mean((0, 1, 2)), kernel.var((0, 1, 2))
    convolution = {name: value for name, value in options.items() if name != "use_bias"}
    expected = conv2d(X, jnp.asarray((kernel - mean) / np.sqrt(var + eps), jnp.float32), **convolution)
    np.testing.assert_allclose(layer(X), expected, atol=1e-4)
    assert (layer.bias is None) == ("use_bias" in options)


def test_scale_and_shift_of_the_kernel_do_not_matter():
    layer = StdConv2d(4, 6, 3, eps=1e-12, rngs=nnx.Rngs(0))
    before = layer(X)
    layer.kernel[...] = 3 * layer.kernel[...] + 0.5
    np.testing.assert_allclose(layer(X), before, atol=1e-4)


def test_the_gradient_keeps_the_kernels_mean():
    layer = StdConv2d(4, 6, 3, rngs=nnx.Rngs(0))
    gradient = jax.grad(lambda kernel: jnp.sum(jnp.square(conv2d(X, standardise(kernel, 1e-6)))))(layer.kernel[...])
    assert np.abs(gradient).max() > 1
    np.testing.assert_allclose(np.sum(gradient, (0, 1, 2)), 0, atol=1e-2)


def test_statistics_are_float32_in_bfloat16():
    layer = StdConv2d(4, 6, 3, param_dtype=jnp.bfloat16, dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
    assert standardise(layer.kernel[...], 1e-6).dtype == jnp.float32
    assert layer(X).dtype == jnp.bfloat16
