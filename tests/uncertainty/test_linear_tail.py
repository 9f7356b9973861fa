from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxvision import uncertainty as uq
from tests.uncertainty.conftest import Mlp


class Pooled(nnx.Module):
    """A convolution, pooling and a linear layer."""

    def __init__(self) -> None:
        self.conv = nnx.Conv(1, 8, (3, 3), rngs=nnx.Rngs(0))
        self.act = _Relu()
        self.pool = _Mean()
        self.fc = nnx.Linear(8, 2, rngs=nnx.Rngs(1))

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.fc(self.pool(self.act(self.conv(x))))


class _Relu(nnx.Module):
    def __call__(self, x: jax.Array) -> jax.Array:
        return nnx.relu(x)


class _Mean(nnx.Module):
    def __call__(self, x: jax.Array) -> jax.Array:
        return x.mean((1, 2))


MAPS = jax.random.normal(jax.random.key(4), (3, 6, 5, 1))


@pytest.mark.parametrize("mask", ["element", "gaussian"])
def test_a_final_linear_layer(points: jax.Array, key: jax.Array, mask: Any) -> None:
    model = Mlp(2)
    net = uq.inject(model, "out", 0.2, mask=mask, at="input", task="regression")
    said = net.predict(points, key)
    assert int(said.num_samples) == 0
    np.testing.assert_allclose(said.mean, net.deterministic(points), atol=1e-6)
    hidden = np.asarray(jax.nn.relu(model.fc2(jax.nn.relu(model.fc2(model_hidden(model, points))))))
    kernel = np.asarray(model.out.kernel[...])
    np.testing.assert_allclose(said.epistemic, 0.25 * hidden**2 @ kernel**2, rtol=1e-5)
    sampled = net.predict(points, key, 20000, method="sample")
    np.testing.assert_allclose(sampled.mean, said.mean, atol=0.02)
    np.testing.assert_allclose(sampled.epistemic, said.epistemic, rtol=0.06)
    # An existing dropout before the layer is the same site.
    np.testing.assert_allclose(
        uq.inject(model, "drop", 0.2, task="regression").predict(points, key).epistemic, said.epistemic, rtol=1e-5
    )


def model_hidden(model: Mlp, x: jax.Array) -> jax.Array:
    return nnx.view(model, use_running_average=True, deterministic=True).norm(nnx.relu(model.fc1(x)))


def test_a_channel_before_pooling_is_an_element_after_it(key: jax.Array) -> None:
    before = uq.inject(Pooled(), "act", 0.3, mask="channel", task="regression").predict(MAPS, key)
    after = uq.inject(Pooled(), "pool", 0.3, task="regression").predict(MAPS, key)
    assert int(before.num_samples) == int(after.num_samples) == 0
    np.testing.assert_allclose(before.epistemic, after.epistemic, rtol=1e-5)
    elements = uq.inject(Pooled(), "act", 0.3, task="regression").predict(MAPS, key)
    assert bool((elements.epistemic < 0.5 * before.epistemic).all())  # averages out under pooling


def test_two_sites_side_by_side_and_one_behind_the_other(key: jax.Array, points: jax.Array) -> None:
    class Two(nnx.Module):
        def __init__(self) -> None:
            self.a, self.b = nnx.Linear(5, 2, rngs=nnx.Rngs(0)), nnx.Linear(5, 2, rngs=nnx.Rngs(1))

        def __call__(self, x: jax.Array) -> jax.Array:
            return (self.a(x) + self.b(x)) / 2

    both = uq.inject(Two(), {"a": 0.1, "b": 0.3}, at="input", task="regression")
    a, b = (uq.inject(Two(), {name: rate}, at="input", task="regression") for name, rate in (("a", 0.1), ("b", 0.3)))
    np.testing.assert_allclose(
        both.predict(points, key).epistemic, a.predict(points, key).epistemic + b.predict(points, key).epistemic, 1e-5
    )
    behind = uq.inject(Pooled(), ["pool", "act"], 0.1, task="regression")
    assert not behind.has_linear_tail(MAPS)
    with pytest.raises(ValueError, match="not linear in the masks"):
        behind.predict(MAPS, key, method="closed-form")
    assert int(behind.predict(MAPS, key, 4).num_samples) == 4


def test_variance_is_proportional_to_the_odds_of_the_rate(points: jax.Array, key: jax.Array) -> None:
    net = uq.inject(Mlp(2), "out", 0.2, at="input", task="regression")
    rates = jnp.array([0.001, 0.1, 0.5])
    moments = net.moments(points, key, rates)
    odds = np.asarray(rates / (1 - rates))
    np.testing.assert_allclose(moments.variance / odds[:, None, None], moments.variance[2:3] * np.ones((3, 1, 1)), 1e-5)


def test_logits_have_it_too(vit: Any, images: jax.Array) -> None:
    net = uq.inject(vit, "head", 0.1)
    moments = net.logit_moments(images)
    np.testing.assert_allclose(moments.mean[0], vit(images), atol=1e-6)
    features = np.asarray(vit.forward_head(vit.forward_features(images), pre_logits=True))
    np.testing.assert_allclose(moments.variance[0], features**2 @ np.asarray(vit.head.kernel[...]) ** 2 / 9, rtol=1e-4)
    with pytest.raises(ValueError, match="not linear"):
        uq.inject(vit, "blocks.0.mlp", 0.1).logit_moments(images)
