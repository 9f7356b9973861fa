"""Winograd's convolution against XLA's, and where it is used."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from jaxvision.nn import _winograd
from jaxvision.nn._conv_native import Geometry
from jaxvision.nn.conv import conv2d

pytestmark = pytest.mark.usefixtures("optimised")

CASES = [  # batch, height, width, in, out, padding
    (2, 9, 8, 32, 48, 1),
    (3, 7, 7, 40, 32, 0),
    (1, 5, 6, 32, 32, 3),
    (2, 4, 4, 32, 32, "SAME"),
    (1, 1, 1, 32, 32, 1),
    (2, 7, 6, 24, 40, 1),  # its kernel's gradient alone
]


@pytest.fixture(autouse=True)
def small_convolutions_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_winograd, "_LEAST_PRODUCTS", 0)


def arrays(case, dtype=jnp.float32):
    batch, height, width, features, out, padding = case
    x = jax.random.normal(jax.random.key(0), (batch, height, width, features), dtype)
    return x, jax.random.normal(jax.random.key(1), (3, 3, features, out), dtype), padding


@pytest.mark.parametrize("case", CASES, ids=str)
def test_results_and_gradients_are_those_of_xla(case) -> None:
    x, kernel, padding = arrays(case)

    def passes(implementation):
        @jax.jit
        def run(x, kernel):
            y, transposed = jax.vjp(lambda *a: conv2d(*a, padding=padding, implementation=implementation), x, kernel)
            return y, *transposed(jax.random.normal(jax.random.key(2), y.shape))

        return run(x, kernel)

    for ours, native in zip(passes("auto"), passes("native"), strict=True):
        np.testing.assert_allclose(ours, native, rtol=0, atol=3e-6 * float(jnp.abs(native).max()))


def test_some_images_at_a_time_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    x, kernel, padding = arrays((6, 5, 5, 32, 32, 1))

    def passes(implementation):
        def run(x, kernel):
            return jnp.square(conv2d(x, kernel, padding=padding, implementation=implementation))

        return jax.jit(run), jax.jit(jax.grad(lambda *a: run(*a).sum(), 1))

    expected = [run(x, kernel) for run in passes("native")]
    monkeypatch.setattr(_winograd, "_MOST_BYTES", 16 * 9 * 64 * 4 * 4)  # four images; three divide the batch
    for run, native in zip(passes("auto"), expected, strict=True):
        np.testing.assert_allclose(run(x, kernel), native, rtol=0, atol=3e-6 * float(jnp.abs(native).max()))
        assert "tensor<2x3x5x5x32xf32>" in run.lower(x, kernel).as_text()


def test_some_images_at_a_time_of_each_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """On an axis that JAX keeps track of, as `jax.shard_map` does."""
    x, kernel, padding = arrays((6, 5, 5, 32, 32, 1))
    monkeypatch.setattr(_winograd, "_MOST_BYTES", 16 * 9 * 64 * 4 * 4)

    def gradient(x, kernel):
        return jax.grad(lambda kernel: jnp.square(conv2d(x, kernel, padding=padding)).mean())(kernel)

    mesh = jax.make_mesh((1,), ("devices",), axis_types=(AxisType.Auto,))
    mapped = jax.shard_map(gradient, mesh=mesh, in_specs=(P("devices"), P()), out_specs=P())
    np.testing.assert_allclose(jax.jit(mapped)(x, kernel), jax.jit(gradient)(x, kernel), rtol=1e-5, atol=1e-6)


def test_the_sums_of_bfloat16_are_float32() -> None:
    x, kernel, padding = arrays((2, 8, 8, 32, 32, 1), jnp.bfloat16)
    y = conv2d(x, kernel, padding=padding)
    exact = conv2d(x.astype(jnp.float32), kernel.astype(jnp.float32), padding=padding)
    assert y.dtype == jnp.bfloat16
    np.testing.assert_allclose(y.astype(jnp.float32), exact, rtol=2**-8, atol=1e-4 * float(jnp.abs(exact).max()))


def test_the_kernels_gradient_of_bfloat16_is_summed_in_float32() -> None:
    x, kernel, padding = arrays((8, 16, 16, 32, 32, 1), jnp.bfloat16)
    weights = jax.random.normal(jax.random.key(3), (8, 16, 16, 32), jnp.bfloat16)

    def gradient(x, kernel):
        return jax.grad(lambda kernel: jnp.vdot(conv2d(x, kernel, padding=padding), weights.astype(x.dtype)))(kernel)

    found, exact = gradient(x, kernel), gradient(x.astype(jnp.float32), kernel.astype(jnp.float32))
    assert found.dtype == jnp.bfloat16
    np.testing.assert_allclose(found.astype(jnp.float32), exact, rtol=2**-8, atol=1e-4 * float(jnp.abs(exact).max()))


@pytest.mark.parametrize(
    "change", [{"stride": (2, 2)}, {"dilation": (2, 2)}, {"groups": 2}, {"window": (5, 5)}, {"in_features": 24}]
)
def test_other_convolutions_are_left_to_others(change, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = {
        "image": (8, 8),
        "window": (3, 3),
        "out": (8, 8),
        "low": (1, 1),
        "stride": (1, 1),
        "dilation": (1, 1),
        "in_features": 64,
        "out_features": 64,
        "groups": 1,
    }
    assert _winograd.is_winograd(Geometry(**plain))
    assert not _winograd.is_winograd(Geometry(**(plain | change)))
    assert _winograd.is_winograd(Geometry(**plain), least_channels=64)
    assert not _winograd.is_winograd(Geometry(**plain), least_channels=65)
    monkeypatch.setattr(_winograd, "_LEAST_PRODUCTS", 9 * 64**3 + 1)
    assert not _winograd.is_winograd(Geometry(**plain))
