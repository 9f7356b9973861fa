import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxvision.nn import conv
from jaxvision.nn.pool import AttentionPoolLatent, avg_pool, global_pool, max_pool, refined_pool


def maps(*shape):
    return jax.random.normal(jax.random.key(0), shape)


def windows(x, window, stride, padding):
    """Every window by hand, out-of-map positions left out."""
    height, width = x.shape[1:3]
    for i in range((height + 2 * padding - window) // stride + 1):
        for j in range((width + 2 * padding - window) // stride + 1):
            rows = slice(max(i * stride - padding, 0), min(i * stride - padding + window, height))
            columns = slice(max(j * stride - padding, 0), min(j * stride - padding + window, width))
            yield i, j, np.asarray(x)[:, rows, columns]


@pytest.mark.parametrize("size", [(8, 8), (7, 10)])
def test_max_pool_pads_with_minus_infinity_on_both_sides(size):
    x = maps(2, *size, 3) - 10  # zeros for padding would win
    y = max_pool(x, 3, stride=2, padding=1)
    for i, j, window in windows(x, 3, 2, 1):
        np.testing.assert_array_equal(y[:, i, j], window.max((1, 2)))


@pytest.mark.parametrize(
    ("size", "window", "stride", "padding"),
    [
        ((8, 8), 3, 2, 1),
        ((7, 10), 3, 2, 1),
        ((9, 9), 3, 2, 0),
        ((6, 7), 3, 1, 1),
        ((9, 8), 2, 3, 0),
        ((11, 12), 5, 2, 2),
    ],
)
def test_max_pools_gradient_is_xlas_also_where_pixels_are_equal(size, window, stride, padding):
    x = jax.nn.relu(maps(2, *size, 5))

    def gradients(implementation):
        def loss(x):
            with conv.implementation(implementation):
                y = max_pool(x, window, stride=stride, padding=padding)
            return jnp.sum(jnp.sin(y) * (1 + jnp.arange(y.size)).reshape(y.shape))

        gradient = jax.grad(loss)
        return jax.jit(gradient)(x), jax.jit(jax.grad(lambda x: jnp.square(gradient(x)).sum()))(x)

    for ours, native in zip(gradients("auto"), gradients("native"), strict=True):
        np.testing.assert_allclose(ours, native, rtol=1e-5, atol=1e-5 * float(jnp.abs(native).max()))


def test_accelerators_get_the_native_gradient_of_max_pool():
    gradient = jax.jit(jax.grad(lambda x: max_pool(x, 3, stride=2, padding=1).sum()))
    traced = gradient.trace(jnp.ones((1, 8, 8, 2)))
    assert "select_and_scatter" in traced.lower(lowering_platforms=("tpu",)).as_text()
    assert "select_and_scatter" not in traced.lower(lowering_platforms=("cpu",)).as_text()


def test_avg_pool_counts_what_is_there():
    x = maps(2, 5, 7, 3)
    y = avg_pool(x, 2, stride=2, ceil_mode=True, count_include_pad=False)
    assert y.shape == (2, 3, 4, 3)
    np.testing.assert_allclose(y[:, 0, 0], np.asarray(x)[:, :2, :2].mean((1, 2)), atol=1e-6)
    np.testing.assert_allclose(y[:, 2, 3], x[:, 4, 6], atol=1e-6)
    assert avg_pool(x, 2, stride=2).shape == (2, 2, 3, 3)


def test_global_pooling():
    x = maps(2, 4, 5, 3)
    np.testing.assert_allclose(global_pool(x), x.mean((1, 2)), atol=1e-6)
    np.testing.assert_allclose(global_pool(x, "avgmax"), (x.mean((1, 2)) + x.max((1, 2))) / 2, atol=1e-6)
    with pytest.raises(ValueError, match="'avg', 'max' and 'avgmax'"):
        global_pool(x, "mean")


def test_means_are_taken_in_float32():
    ones = jnp.ones((1, 64, 64, 1), jnp.bfloat16)  # 4096 ones sum to 256 in bfloat16
    assert global_pool(ones)[0, 0] == 1
    assert global_pool(ones).dtype == jnp.bfloat16


def test_attention_pool_ignores_the_order_of_tokens():
    pool = AttentionPoolLatent(16, 2, rngs=nnx.Rngs(0))
    x = maps(2, 9, 16)
    np.testing.assert_allclose(pool(x), pool(x[:, ::-1]), atol=1e-5)


def test_refined_pool_attends_without_weights():
    x = maps(2, 3, 8)
    for head in (slice(4), slice(4, 8)):
        part = np.asarray(x[0, :, head])
        weights = np.exp(part @ part.T / 2)
        refined = weights / weights.sum(-1, keepdims=True) @ part
        np.testing.assert_allclose(refined_pool(x, 2, "token")[0, head], refined[0], atol=1e-5)
        np.testing.assert_allclose(refined_pool(x, 2, "avg")[0, head], refined.mean(0), atol=1e-5)
