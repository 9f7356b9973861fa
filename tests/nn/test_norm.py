import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from jaxvision.nn import _channel_sums
from jaxvision.nn.conv import implementation
from jaxvision.nn.norm import BatchNorm, LayerNorm, LayerNorm2d

pytestmark = pytest.mark.usefixtures("optimised")


def batch(*shape):
    return 3 + 2 * np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def test_one_step_moves_the_statistics_as_torch_does():
    """torch keeps 1 - momentum = 0.9 of the history and takes the unbiased variance of the batch."""
    x = batch(4, 3, 3, 5)
    norm = BatchNorm(5, rngs=nnx.Rngs(0))
    y = norm(x, train=True)
    flat = x.reshape(-1, 5).astype(np.float64)
    np.testing.assert_allclose(norm.mean[...], 0.1 * flat.mean(0), rtol=1e-5)
    np.testing.assert_allclose(norm.var[...], 0.9 + 0.1 * flat.var(0, ddof=1), rtol=1e-5)
    np.testing.assert_allclose(y.reshape(-1, 5), (flat - flat.mean(0)) / np.sqrt(flat.var(0) + 1e-5), atol=1e-4)


def test_four_values_have_torchs_variance():
    norm = BatchNorm(1, momentum=0.0, rngs=nnx.Rngs(0))
    norm(np.array([[1.0], [2.0], [3.0], [4.0]], np.float32), train=True)
    np.testing.assert_allclose(norm.var[...], 5 / 3, rtol=1e-6)


def test_evaluation_uses_the_running_statistics_and_keeps_them():
    x = batch(4, 5)
    norm = BatchNorm(5, eps=1e-3, rngs=nnx.Rngs(0))
    norm.mean[...] = jnp.arange(5.0)
    norm.var[...] = 1.0 + jnp.arange(5.0)
    norm.scale[...] = 2.0 * norm.scale[...]
    expected = 2 * (x - np.arange(5)) / np.sqrt(1 + np.arange(5) + 1e-3)
    np.testing.assert_allclose(norm(x), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(norm.mean[...], np.arange(5))


def test_a_large_mean_does_not_cancel():
    x = 1000 + 0.01 * np.random.default_rng(0).standard_normal((4096, 1)).astype(np.float32)
    norm = BatchNorm(1, momentum=0.0, rngs=nnx.Rngs(0))
    norm(x, train=True)
    np.testing.assert_allclose(norm.var[...], x.astype(np.float64).var(ddof=1), rtol=0.05)


def test_statistics_are_float32_in_bfloat16():
    norm = BatchNorm(5, dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
    y = norm(jnp.asarray(batch(64, 5), jnp.bfloat16), train=True)
    assert y.dtype == jnp.bfloat16
    assert norm.mean[...].dtype == norm.var[...].dtype == jnp.float32


def test_an_axis_name_makes_the_statistics_global():
    x = batch(4, 6, 5)

    def step(x):
        norm = BatchNorm(5, rngs=nnx.Rngs(0))
        norm.axis_name = "devices"
        y = norm(x, train=True)
        return y, norm.mean[...], norm.var[...]

    y, mean, var = jax.vmap(step, axis_name="devices")(x)
    whole = BatchNorm(5, rngs=nnx.Rngs(0))
    np.testing.assert_allclose(y.reshape(24, 5), whole(x.reshape(24, 5), train=True), atol=1e-5)
    for shard in range(4):
        np.testing.assert_allclose(mean[shard], whole.mean[...], rtol=1e-5)
        np.testing.assert_allclose(var[shard], whole.var[...], rtol=1e-5)


def test_an_axis_that_jax_keeps_track_of():
    """`jax.shard_map`'s default, under which the gradient of a parameter must be the same on all devices, as it is."""
    x, scale = batch(4, 3, 6, 5), jnp.linspace(0.5, 2, 5)

    def loss(scale, x, axis_name=None):
        norm = BatchNorm(5, rngs=nnx.Rngs(0))
        norm.axis_name, norm.scale[...] = axis_name, scale
        return jnp.sin(norm(x, train=True)).mean()

    def mapped(scale, x):
        return jax.grad(lambda scale: jax.lax.pmean(loss(scale, x, "devices"), "devices"))(scale)

    mesh = jax.make_mesh((1,), ("devices",), axis_types=(AxisType.Auto,))
    found = jax.jit(jax.shard_map(mapped, mesh=mesh, in_specs=(P(), P("devices")), out_specs=P()))(scale, x)
    np.testing.assert_allclose(found, jax.grad(loss)(scale, x), rtol=1e-5, atol=1e-6)


def test_vectors_have_forward_mode():
    def normalised(x):
        return BatchNorm(5, rngs=nnx.Rngs(0))(x, train=True)

    x, tangent = batch(6, 5), batch(5, 6).T
    forward = jax.jvp(normalised, (x,), (tangent,))[1]
    reverse = jax.vjp(normalised, x)[1](forward)[0]
    np.testing.assert_allclose(jnp.vdot(forward, forward), jnp.vdot(tangent, reverse), rtol=1e-4)


@pytest.mark.parametrize("eps", [1e-6, 1e-5, 1e-2])
def test_layer_norm(eps):
    x = batch(3, 4, 7)
    expected = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + eps)
    np.testing.assert_allclose(LayerNorm(7, eps=eps, rngs=nnx.Rngs(0))(x), expected, atol=1e-5)


def test_the_layer_norm_of_maps_is_called_as_their_other_norms():
    x = batch(2, 3, 4, 7)
    norm = LayerNorm2d(7, rngs=nnx.Rngs(0))
    np.testing.assert_array_equal(norm(x, True), LayerNorm(7, rngs=nnx.Rngs(0))(x))


@pytest.mark.parametrize("shape", [(2, 14, 3, 5), (3, 13, 4, 2), (2, 17, 1, 3), (1, 1, 1, 4), (6, 3)])
def test_gradients_are_those_of_the_formula(shape, monkeypatch):
    """With the sums of large maps, of rows that divide the height and of one that nothing divides; of any order."""
    monkeypatch.setattr(_channel_sums, "_LEAST_SIZE", 0)
    x, weights = (jax.random.normal(jax.random.key(seed), shape) for seed in (0, 1))

    def loss(x, scale, bias):
        norm = BatchNorm(shape[-1], eps=0.1, rngs=nnx.Rngs(0))
        norm.scale[...], norm.bias[...] = scale, bias
        y = norm(5 + x, train=True)
        return (jnp.sin(y) * weights).sum() + (norm.mean[...] * norm.var[...]).sum()

    def curvature(*inputs):
        return jnp.square(jax.grad(loss)(*inputs)).sum()

    inputs = x, jnp.linspace(0.5, 2, shape[-1]), jnp.linspace(-1, 1, shape[-1])
    with implementation("native"):
        expected = jax.value_and_grad(loss, (0, 1, 2))(*inputs), jax.grad(curvature, (0, 1))(*inputs)
        jax.jvp(loss, inputs, inputs)
    found = jax.jit(jax.value_and_grad(loss, (0, 1, 2)))(*inputs), jax.jit(jax.grad(curvature, (0, 1)))(*inputs)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), found, expected)
