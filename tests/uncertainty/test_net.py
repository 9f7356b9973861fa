import os
import subprocess
import sys
import textwrap
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxvision import uncertainty as uq
from jaxvision.uncertainty.net import _compiled
from tests.uncertainty.conftest import Mlp


@pytest.fixture(scope="module")
def net(mlp: Mlp) -> uq.Net:
    return uq.inject(mlp, {"fc1": 0.3, "fc2": 0.1})


@pytest.fixture(scope="module")
def said(net: uq.Net, points: jax.Array, key: jax.Array) -> Any:
    return net.predict(points, key, 20, chunk=(7, 20), keep="samples")


def close(a: Any, b: Any) -> None:
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=2e-6), a, b)


@pytest.mark.parametrize("chunk", [(3, 20), (7, 6), (2, 3)])
def test_chunks_do_not_matter(net: uq.Net, points: jax.Array, key: jax.Array, said: Any, chunk: Any) -> None:
    close(net.predict(points, key, 20, chunk=chunk, keep="samples"), said)


def test_batches_do_not_matter_where_rows_have_their_numbers(
    net: uq.Net, points: jax.Array, key: jax.Array, said: Any
) -> None:
    part = net.predict(points[2:5], key, 20, rows=jnp.arange(2, 5))
    np.testing.assert_allclose(part.probs, said.probs[2:5], atol=2e-6)
    np.testing.assert_allclose(part.variance, said.variance[2:5], atol=2e-6)


def test_statistics_are_those_of_the_samples(net: uq.Net, points: jax.Array, key: jax.Array, said: Any) -> None:
    samples = np.asarray(said.samples, np.float64)
    assert samples.shape == (20, 7, 3)
    np.testing.assert_allclose(said.probs, samples.mean(0), atol=1e-6)
    np.testing.assert_allclose(said.variance, samples.var(0, ddof=1), atol=1e-6)
    plain = jax.nn.softmax(net.deterministic(points))
    np.testing.assert_allclose(said.deterministic_probs, plain, atol=1e-6)
    votes = samples.argmax(-1)
    np.testing.assert_allclose(said.flip_rate, (votes != plain.argmax(-1)).mean(0), atol=1e-6)
    counts = np.stack([(votes == k).mean(0) for k in range(3)])
    np.testing.assert_allclose(said.variation_ratio, 1 - counts.max(0), atol=1e-6)
    np.testing.assert_array_equal(said.flipped, said.predicted != plain.argmax(-1))
    one = net.sample(points, jax.random.fold_in(key, 3))
    np.testing.assert_allclose(samples[3], jax.nn.softmax(one), atol=1e-6)


def test_same_key_same_answer_another_key_another(net: uq.Net, points: jax.Array, key: jax.Array, said: Any) -> None:
    again = net.predict(points, key, 20, chunk=(7, 20), keep="samples")
    jax.tree.map(np.testing.assert_array_equal, again, said)
    other = net.predict(points, jax.random.key(5), 20, chunk=(7, 20), keep="samples")
    assert not bool((other.probs == said.probs).any())
    raw = net.predict(points, jax.random.PRNGKey(0), 20, chunk=(7, 20), keep="samples")
    np.testing.assert_array_equal(raw.probs, said.probs)


def test_under_jit_with_the_network_as_argument(net: uq.Net, points: jax.Array, key: jax.Array, said: Any) -> None:
    predict = jax.jit(lambda net, x, key: net.predict(x, key, 20, keep="samples"))
    close(predict(net, points, key), said)


def test_one_compilation_for_all_rates_and_temperatures(net: uq.Net, points: jax.Array, key: jax.Array) -> None:
    net.predict(points, key, 5)
    before = _compiled._cache_size()
    rates = [net.with_rate(rate).predict(points, key, 5, temperature=t).probs for rate, t in ((0.1, 1), (0.5, 2.0))]
    assert _compiled._cache_size() == before
    assert not bool((rates[0] == rates[1]).all())


def test_early_stop(net: uq.Net, points: jax.Array, key: jax.Array) -> None:
    strict = net.predict(points, key, 64, tolerance=1e-6, chunk=(7, 8))
    loose = net.predict(points, key, 64, tolerance=0.02, chunk=(7, 8))
    assert int(strict.num_samples) == 64
    assert 16 <= int(loose.num_samples) < 64
    assert int(loose.num_samples) % 8 == 0
    assert float(jnp.sqrt(loose.variance / loose.num_samples).max()) <= 0.02
    same = net.predict(points, key, int(loose.num_samples))
    np.testing.assert_allclose(same.probs, loose.probs, atol=2e-6)


def test_half_precision_is_summed_in_single(points: jax.Array, key: jax.Array) -> None:
    class Half(nnx.Module):
        def __init__(self) -> None:
            self.fc = nnx.Linear(5, 2, dtype=jnp.bfloat16, rngs=nnx.Rngs(0))

        def __call__(self, x: jax.Array) -> jax.Array:
            return self.fc(x)

    said = uq.inject(Half(), "fc", 0.1, task="regression").predict(points, key, 50, method="sample")
    assert said.mean.dtype == said.epistemic.dtype == jnp.float32
    steps = said.mean.astype(jnp.bfloat16).astype(jnp.float32)
    assert not bool((said.mean == steps).any())  # finer than half precision


def test_dense_outputs(key: jax.Array) -> None:
    class Density(nnx.Module):
        def __init__(self, outputs: int) -> None:
            self.conv = nnx.Conv(1, 4, (3, 3), rngs=nnx.Rngs(0))
            self.out = nnx.Conv(4, outputs, (1, 1), rngs=nnx.Rngs(1))

        def __call__(self, x: jax.Array) -> jax.Array:
            return self.out(nnx.relu(self.conv(x)))

    maps = jax.random.normal(key, (3, 6, 5, 1))
    counts = uq.inject(Density(1), "conv", 0.2, mask="channel", task="regression").predict(maps, key, 6, chunk=(2, 3))
    assert counts.mean.shape == counts.std.shape == (3, 6, 5, 1)
    assert float(counts.std.max()) > 0
    pixels = uq.inject(Density(3), "conv", 0.2).predict(maps, key, 6)
    assert pixels.probs.shape == (3, 6, 5, 3)
    assert pixels.mutual_information.shape == pixels.flip_rate.shape == (3, 6, 5)


@pytest.mark.parametrize(
    ("task", "outputs", "shape"),
    [("binary", 1, (7, 2)), ("multilabel", 3, (7, 3, 2)), ("multiclass", 3, (7, 3)), ("heteroscedastic", 4, (7, 2))],
)
def test_tasks(points: jax.Array, key: jax.Array, task: str, outputs: int, shape: tuple[int, ...]) -> None:
    net = uq.inject(Mlp(outputs), "fc2", 0.2, task=task)
    said = net.predict(points, key, 4)
    if task == "heteroscedastic":
        assert said.mean.shape == said.variance.shape == shape
        np.testing.assert_allclose(said.variance, said.epistemic + said.aleatoric)
        moments = net.moments(points, key, jnp.array([0.2]), 4)
        np.testing.assert_allclose(moments.aleatoric[0], said.aleatoric, rtol=1e-5)
        np.testing.assert_allclose(moments.deterministic, net.deterministic(points)[:, :2], atol=1e-6)
    else:
        assert said.probs.shape == shape
        np.testing.assert_allclose(said.probs.sum(-1), 1, rtol=1e-5)


def test_label_log_probs_are_those_of_predict(net: uq.Net, points: jax.Array, key: jax.Array) -> None:
    labels = jnp.array([0, 1, 2, 0, 1, 2, 0])
    rates, temperatures = jnp.array([0.1, 0.3]), jnp.array([0.5, 1.0, 2.0])
    table = net.label_log_probs(points, labels, key, rates, temperatures, 6, chunk=(4, 4))
    assert table.shape == (2, 3, 7)
    one = net.with_rate(0.1).predict(points, key, 6, temperature=2.0)
    np.testing.assert_allclose(table[0, 2], one.log_probs[jnp.arange(7), labels], atol=1e-5)


def test_moments_share_their_random_numbers(mlp: Mlp, points: jax.Array, key: jax.Array) -> None:
    net = uq.inject(mlp, {"fc1": 0.3, "fc2": 0.1}, task="regression")
    moments = net.moments(points, key, jnp.array([0.15, 0.3]), 6, chunk=(7, 4))
    for place, rate in enumerate((0.15, 0.3)):
        one = net.with_rate(rate).predict(points, key, 6)
        np.testing.assert_allclose(moments.mean[place], one.mean, atol=2e-6)
        np.testing.assert_allclose(moments.variance[place], one.epistemic, atol=2e-6)


def test_wrong_arguments(net: uq.Net, points: jax.Array, key: jax.Array) -> None:
    for settings, message in (
        ({"num_samples": 1}, "at least 2"),
        ({"chunk": 4}, "examples, samples"),
        ({"keep": "everything"}, "'samples'"),
        ({"keep": "samples", "tolerance": 0.1}, "fixed number"),
        ({"tolerance": -1.0}, "above 0"),
        ({"method": "magic"}, "'closed-form'"),
        ({"method": "closed-form"}, "logit_moments"),
        ({"rows": jnp.arange(3)}, "7 examples"),
    ):
        with pytest.raises(ValueError, match=message):
            net.predict(points, key, **settings)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="threefry"):
        net.predict(points, jax.random.key(0, impl="rbg"))
    with pytest.raises(ValueError, match="one key"):
        net.predict(points, jax.random.split(key, 3))
    with pytest.raises(ValueError, match="all rates are 0"):
        net.with_rate(0).label_log_probs(points, jnp.zeros(7, jnp.int32), key, jnp.ones(1), jnp.ones(1))
    with pytest.raises(ValueError, match="regression"):
        net.moments(points, key, jnp.ones(1))
    with pytest.raises(ValueError, match="example="):
        net.sites  # noqa: B018
    assert len(net.try_on(points).sites) == 2


def test_head_injection_costs_about_one_pass(vit: Any, images: jax.Array, key: jax.Array) -> None:
    def flops(function: Any, *args: Any) -> float:
        return jax.jit(function).lower(*args).compile().cost_analysis()["flops"]

    net = uq.inject(vit, "head", 0.1)
    one = flops(lambda net, x: net.deterministic(x), net, images)
    many = flops(lambda net, x, key: net.predict(x, key, 32, chunk=(3, 32)).probs, net, images, key)
    assert many < 1.5 * one  # a tiny network, whose head is a large part of it
    assert net.sites.share < 0.01


def test_devices_do_not_matter() -> None:
    script = """
    import jax, jax.numpy as jnp, numpy as np
    from jax.sharding import NamedSharding, PartitionSpec as P
    from jaxvision import uncertainty as uq
    from tests.uncertainty.conftest import Mlp
    assert jax.device_count() == 8
    net = uq.inject(Mlp(), {"fc1": 0.3, "fc2": 0.1})
    x, key = jax.random.normal(jax.random.key(1), (16, 5)), jax.random.key(0)
    alone = net.predict(x, key, 16, keep="samples")
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    batch = jax.device_put(x, NamedSharding(mesh, P("data")))
    for said in (net.predict(batch, key, 16, keep="samples"),
                 net.predict(jax.device_put(x, NamedSharding(mesh, P())), key, 16, keep="samples",
                             sharding=NamedSharding(mesh, P("data")))):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-6), said, alone)
        print(len(said.samples.sharding.device_set))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        env={**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=8", "PYTHONPATH": "."},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["8", "8"]
