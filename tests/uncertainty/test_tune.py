from dataclasses import replace
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from sklearn.datasets import load_digits

from jaxvision import uncertainty as uq
from jaxvision.functional import to_functional, update
from jaxvision.uncertainty.batches import batches
from jaxvision.uncertainty.overlap import OverlapError, RowSketch, row_hashes
from jaxvision.uncertainty.scale import ScaleError, nll
from jaxvision.uncertainty.tune import RATES, tune
from jaxvision.uncertainty.tune_classification import averaged_nll
from jaxvision.uncertainty.tune_regression import run_passes

KEY = jax.random.key(0)


def initial(key, shape, dtype):
    """Kernels from NumPy: nothing to compile."""
    return jnp.asarray(np.random.default_rng(shape).normal(size=shape) / np.sqrt(np.prod(shape[:-1])), dtype)


def mlp(*widths):
    layers = []
    for width, following in pairwise(widths):
        layers += [nnx.Linear(width, following, kernel_init=initial, rngs=nnx.Rngs(0)), jax.nn.relu]
    return nnx.Sequential(*layers[:-1])


def forward(model, x):
    """What an `mlp` says, in float64."""
    *hidden, last = model.layers[::2]
    for layer in hidden:
        x = np.maximum(x @ np.float64(layer.kernel[...]) + np.float64(layer.bias[...]), 0)
    return x @ np.float64(last.kernel[...]) + np.float64(last.bias[...])


def trained(model, x, y, loss, steps):
    apply, variables = to_functional(model)
    optimizer = optax.adam(1e-2)

    def step(carry, _):
        params, state = carry
        gradient = jax.grad(lambda p: loss(apply({**variables, "params": p}, x)[0], y).mean())(params)
        updates, state = optimizer.update(gradient, state)
        return (optax.apply_updates(params, updates), state), None

    params = variables["params"]
    run = jax.jit(lambda p: jax.lax.scan(step, (p, optimizer.init(p)), None, length=steps)[0][0])
    update(model, {"params": run(params)})
    return model


@pytest.fixture(scope="module")
def noisy():
    """Numbers that are noisier where the inputs are large, and a network trained on others of them."""
    rng = np.random.default_rng(0)
    x = np.float32(rng.normal(size=(442, 4)))
    y = np.float32(np.sin(x[:, 0]) + x[:, 1] + 0.3 * np.square(x).sum(1) * rng.normal(size=442))
    model = trained(mlp(4, 50, 50, 1), x[:200], y[:200], lambda out, y: jnp.square(out[:, 0] - y), 100)
    return model, x[200:], y[200:]


traces = []


@pytest.fixture(scope="module")
def regression(noisy):
    model, x, y = noisy
    net = uq.inject(model, ["layers.0", "layers.2"], task="regression")
    function = net.function
    net = replace(net, function=lambda variables, images: traces.append(images.shape) or function(variables, images))
    return net, tune(net, x, y, KEY, num_samples=50, test=0.4)


@pytest.fixture(scope="module")
def digits():
    x, y = load_digits(return_X_y=True)
    x = np.float32(x / 16)
    model = trained(mlp(64, 32, 10), x[:200], y[:200], optax.softmax_cross_entropy_with_integer_labels, 200)
    return model, x, y


def test_regression_beats_what_it_has_to_beat(regression):
    _, cal = regression
    assert {"constant variance", "dropout, not scaled"} == set(cal.baselines)
    by_name = {c.name: c for c in cal.candidates}
    constant = by_name["constant variance"].nll
    for center in ("mc", "deterministic"):
        for kind in ("affine", "power"):
            best = by_name[f"{kind}, {center} centre"].nll
            assert best <= by_name[f"variance, {center} centre"].nll + 1e-9
            if center == "deterministic":
                assert best <= constant + 1e-9
    assert cal.result.nll == min(c.nll for c in cal.sweep)
    assert cal.result.nll <= constant
    assert by_name["variance, mc centre"].nll < by_name["dropout, not scaled"].nll
    assert tuple(c.rate for c in cal.sweep) == RATES
    assert cal.rate == cal.result.rate == cal.net.rate
    # On rows that had no part in it: not worse than the deterministic network with a constant variance.
    assert cal.result.test_nll < by_name["constant variance"].test_nll


def test_the_test_rows_numbers_are_those_of_the_predictions(regression):
    _, cal = regression
    assert cal.test["nll"] == pytest.approx(cal.result.test_nll, abs=1e-4)
    assert cal.split == "tuned on 145 of 242 rows; tested on the other 97, drawn at random"
    assert cal.sketch.size == 145


def test_a_regression_predicts_its_scaled_variance(regression, noisy):
    _, cal = regression
    _, x, _ = noisy
    x = x[:64]  # a batch, whose passes are compiled already
    raw, found = cal.net.predict(x, KEY, 50), cal.predict(x, KEY)
    np.testing.assert_allclose(found.variance, cal.scale.variance(raw.epistemic), rtol=1e-6)
    np.testing.assert_array_equal(found.mean, raw.mean if cal.center == "mc" else raw.deterministic)
    jitted = jax.jit(lambda cal, x, key: cal.predict(x, key))(cal, x, KEY)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(jitted), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_the_paper_can_be_asked_for(regression, noisy):
    net, free = regression
    _, x, y = noisy
    # Evenly many rows as before, so that nothing is compiled again.
    cal = tune(net, x, y, KEY, num_samples=50, scale="variance", center="mc")
    assert (cal.scale.kind, cal.center) == ("variance", "mc")
    assert cal.split.endswith("so optimistic")
    assert not cal.test
    assert {c.name for c in cal.candidates} >= {c.name for c in free.candidates}
    passes = run_passes(net, x, y[:, None], KEY, RATES, 50, 64)
    index = RATES.index(cal.rate)
    squares = (passes.y - passes.mean[index]).astype(np.float64) ** 2
    assert cal.scale.factor == pytest.approx(np.mean(squares / passes.variance[index].clip(cal.scale.floor)), rel=1e-6)
    others = [
        nll(passes.mean[i], np.mean((passes.y - passes.mean[i]) ** 2 / v) * v, passes.y)
        for i, v in enumerate(passes.variance.clip(1e-6 * passes.variance.mean((1, 2), keepdims=True)))
    ]
    assert int(np.argmin(others)) == index


def test_passes_do_not_depend_on_how_rows_come(regression, noisy):
    net, _ = regression
    _, x, y = noisy
    whole = run_passes(net, x, y[:, None], KEY, RATES, 50, 64)
    uneven = run_passes(net, [x[:7], x[7:150], x[150:]], y[:, None], KEY, RATES, 50, 64)
    np.testing.assert_array_equal(whole.variance, uneven.variance)
    other = run_passes(net, x, y[:, None], KEY, RATES, 50, 99)
    np.testing.assert_allclose(whole.variance, other.variance, rtol=1e-3, atol=1e-7)
    part = run_passes(net, x, y[:, None], KEY, RATES, 50, 64, np.arange(len(x)) % 3 == 0)
    np.testing.assert_allclose(whole.variance[:, ::3], part.variance, rtol=1e-3, atol=1e-7)


def test_all_rates_and_batches_share_one_compilation(regression, noisy):
    net, _ = regression
    _, x, y = noisy
    run_passes(net, x, y[:, None], KEY, RATES, 50, 64)
    before = len(traces)
    assert before > 0
    run_passes(net, x, y[:, None], KEY, [rate / 2 for rate in RATES], 50, 64)
    assert len(traces) == before
    assert before < 2 * len(RATES)  # of all that was done to this network, several batches at a time


def test_a_linear_tail_needs_no_search(noisy):
    """Its variance goes with p/(1-p), so that once it is scaled no rate is better than another."""
    model, x, y = noisy
    net = uq.inject(model, "layers.4", at="input", task="regression")
    cal = tune(net, x, y, KEY, scale="variance")
    values = [c.nll for c in cal.sweep]
    assert max(values) - min(values) < 1e-5
    odds = np.array([c.rate / (1 - c.rate) for c in cal.sweep])
    factors = np.array([c.scale.factor for c in cal.sweep])
    np.testing.assert_allclose(factors * odds, factors[0] * odds[0], rtol=1e-4)


def test_classification_is_not_worse_than_the_deterministic_network(digits):
    model, x, y = digits
    net = uq.inject(model, "layers.0")
    cal = tune(net, x[200:800], y[200:800], KEY, num_samples=30, test=(x[800:], y[800:]), batch_size=200)
    plain, scaled = (cal.baselines[name] for name in ("deterministic softmax", "temperature-scaled softmax"))
    assert scaled["nll"] <= plain["nll"]
    assert cal.result.nll <= scaled["nll"] + 1e-3
    assert cal.result.test_nll < plain["test_nll"]
    assert cal.result.nll <= min(c.nll for c in cal.sweep) + 1e-4  # those of other rates are estimates
    # The baselines are what they say.
    logits = forward(model, x[800:]) / scaled["temperature"]
    expected = (np.log(np.exp(logits).sum(-1)) - logits[np.arange(len(logits)), y[800:]]).mean()
    assert scaled["test_nll"] == pytest.approx(float(expected), abs=1e-5)
    # So is the result, in its predictions.
    assert cal.test["nll"] == pytest.approx(cal.result.test_nll, abs=1e-5)
    assert cal.split == "tuned on 600 rows; tested on 997 others that were given"
    # A temperature beside the chosen one is not better at its rate.
    for beside in (0.97, 1.03):
        heats = [cal.temperature, cal.temperature * beside]
        found = averaged_nll(net, x[200:800], y[200:800], KEY, [cal.rate] * 2, heats, 30, 200)
        assert found[0, 0] == pytest.approx(cal.result.nll, abs=1e-6)
        assert found[0, 0] <= found[0, 1]
    with pytest.raises(OverlapError, match="3 of these 10 rows"):
        tune(net, x[200:800], y[200:800], KEY, test=(x[797:807], y[797:807]))


@pytest.mark.parametrize("task", ["binary", "multilabel"])
def test_other_labels(task):
    rng = np.random.default_rng(0)
    outputs = 1 if task == "binary" else 3
    model, x = mlp(4, 8, outputs), np.float32(rng.normal(size=(40, 4)))
    logits = forward(model, x)
    y = rng.random(logits.shape) < 1 / (1 + np.exp(-logits / 2))  # right at temperature 2
    y = y[:, 0].astype(int) if task == "binary" else y
    net = uq.inject(model, "layers.0", task=task)
    cal = tune(net, x, y, KEY, rates=(0.05, 0.2), num_samples=8, batch_size=30, scale="none")
    assert (cal.temperature, cal.result.name) == (1, "averaged softmax")
    expected = np.log1p(np.exp(-logits * (2 * y.reshape(logits.shape) - 1))).mean()
    assert cal.baselines["deterministic softmax"]["nll"] == pytest.approx(expected, abs=1e-5)
    best = next(c for c in cal.candidates if c.name == "averaged softmax, temperature-scaled")
    assert best.nll < cal.result.nll
    if task == "binary":
        return  # predictions and likelihoods agree for it as they do below, and compiling takes long
    logs = np.asarray(cal.predict(x, KEY).log_probs)
    picked = np.take_along_axis(logs, y.astype(int)[..., None], -1)
    assert -picked.mean() == pytest.approx(cal.result.nll, abs=1e-5)


def test_a_heteroscedastic_head_keeps_its_noise():
    rng = np.random.default_rng(0)
    model, x = mlp(4, 16, 2), np.float32(rng.normal(size=(300, 4)))
    out = forward(model, x)
    y = out[:, 0] + rng.normal(size=300) * np.exp(out[:, 1] / 2) * 2  # the head's variance is four times too small
    cal = tune(
        uq.inject(model, "layers.0", task="heteroscedastic"),
        x,
        y,
        KEY,
        rates=(0.02, 0.1),
        num_samples=16,
        batch_size=300,
    )
    own, scaled = (cal.baselines[f"the head's own variance{end}"] for end in ("", ", scaled"))
    assert own["nll"] == pytest.approx(nll(out[:, 0], np.exp(out[:, 1]), y), abs=1e-5)
    assert scaled["nll"] < own["nll"]
    assert cal.result.nll <= scaled["nll"] + 1e-2
    prediction = cal.predict(x, KEY)
    assert prediction.aleatoric.shape == (300, 1)
    np.testing.assert_allclose(nll(prediction.mean, prediction.variance, y[:, None]), cal.result.nll, atol=1e-4)


def test_dense_outputs_share_one_scale():
    rng = np.random.default_rng(0)
    model = nnx.Sequential(
        nnx.Conv(1, 4, (3, 3), kernel_init=initial, rngs=nnx.Rngs(0)),
        jax.nn.relu,
        nnx.Conv(4, 1, (1, 1), kernel_init=initial, rngs=nnx.Rngs(0)),
    )
    x = np.float32(rng.normal(size=(12, 6, 6, 1)))
    net = uq.inject(model, "layers.0", mask="channel", task="regression")
    y = np.asarray(net.deterministic(x))[..., 0] + rng.normal(size=(12, 6, 6)) / 2
    cal = tune(net, x, y, KEY, rates=(0.1, 0.3), num_samples=8, scale="affine")
    assert isinstance(cal.scale.factor, float)
    prediction = cal.predict(x, KEY)
    assert prediction.variance.shape == (12, 6, 6, 1)
    assert nll(prediction.mean[..., 0], prediction.variance[..., 0], y) == pytest.approx(cal.result.nll, abs=1e-4)
    with pytest.raises(ValueError, match=r"per_output needs outputs \(n, d\)"):
        tune(net, x, y, KEY, rates=(0.1, 0.3), num_samples=8, per_output=True)


def test_one_scale_an_output():
    rng = np.random.default_rng(0)
    model, x = mlp(4, 16, 2), np.float32(rng.normal(size=(80, 4)))
    y = forward(model, x) + rng.normal(size=(80, 2)) * [0.1, 10]
    net = uq.inject(model, "layers.0", task="regression")
    cal = tune(net, x, y, KEY, rates=(0.1, 0.3), num_samples=8, per_output=True)
    assert len(cal.scale.factor) == 2
    assert cal.result.nll < tune(net, x, y, KEY, rates=(0.1, 0.3), num_samples=8).result.nll - 1


def test_sites_without_effect_are_reported(noisy):
    model, x, y = noisy
    dead = nnx.clone(model)
    dead.layers[4].kernel.set_value(jnp.zeros((50, 1)))
    net = uq.inject(dead, "layers.4", at="input", task="regression")
    with pytest.raises(ScaleError, match=r"at any rate: at rate 0\.1, the variance over the passes is zero everywhere"):
        tune(net, x[:50], y[:50], KEY, rates=(0.1,), num_samples=8)


def test_wrong_arguments_are_named(digits, regression, noisy):
    model, x, y = digits
    net, numbers = uq.inject(model, "layers.0"), regression[0]
    wrong = [
        (net, x, y[:5], {}, r"1797 rows in x, but y has the shape \(5,\)"),
        (net, x, y + 1, {}, "labels go from 0 to 9 .* y goes from 1 to 10"),
        (net, x, y + 0.5, {}, "class numbers, but y holds float64: for numbers say task='regression'"),
        (
            net,
            x,
            y,
            {"scale": "tempreature"},
            "unknown scale 'tempreature' for classification; did you mean 'temperature'",
        ),
        (net, x, y, {"center": "mc"}, "center and per_output are for regressions"),
        (net, x, y, {"rates": ()}, "rates is empty"),
        (net, x, y, {"rates": (0, 0.1)}, "rate 0 drops nothing"),
        (net, x, y, {"rates": (0.1, 1)}, "below 1"),
        (net, x, y, {"test": 1.0}, "between 0 and 1, got 1.0"),
        (net, x, y, {"test": [x, y]}, r"test is \(x, y\), or a fraction"),
        (net, x, y, {"batch_size": 0}, "batch_size must be at least 1"),
        (net, x[:0], y[:0], {}, "x is empty"),
        (numbers, *noisy[1:], {"center": "mean"}, "unknown center 'mean'"),
        (numbers, *noisy[1:], {"scale": "afine"}, "did you mean 'affine'"),
        (numbers, noisy[1], np.zeros((242, 2)), {}, r"shape \(2,\), but a regression of these outputs needs \(1,\)"),
        (numbers, noisy[1], np.full(242, np.nan), {}, "y is not finite"),
    ]
    for where, images, labels, options, message in wrong:
        with pytest.raises(ValueError, match=message):
            tune(where, images, labels, KEY, **options)
    with pytest.raises(TypeError, match="iterated over more than once"):
        tune(net, iter([x]), y, KEY)


def test_rows_come_in_batches_of_one_size():
    rows = np.arange(23)
    blocks = [rows[:1], rows[1:14], rows[14:14], rows[14:]]
    for x in (rows, blocks, jnp.asarray(rows)):
        for size in (1, 4, 23, 50):
            found = list(batches(x, size))
            assert {len(batch.images) for batch in found} == {min(size, 23)}
            np.testing.assert_array_equal(np.concatenate([b.images[: b.count] for b in found]), rows)
            np.testing.assert_array_equal(np.concatenate([b.rows[: b.count] for b in found]), rows)
    chosen = rows % 3 == 1
    (first, second) = batches(blocks, 5, chosen)
    np.testing.assert_array_equal(first.rows, [1, 4, 7, 10, 13])
    np.testing.assert_array_equal(second.images, [16, 19, 22, 22, 22])
    assert second.count == 3


def test_a_sketch_knows_its_rows():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(5000, 3))
    few, many = RowSketch.of(row_hashes(rows[:200])), RowSketch.of(row_hashes(rows))
    assert few.seen(row_hashes(rows[190:210])) == 10
    assert few.seen(row_hashes(np.float32(rows[:200]))) == 200  # in another type
    assert few.seen(row_hashes(rows[200:])) == 0
    assert len(many.hashes) == 256
    assert many.seen(row_hashes(rows)) == 5000
    assert many.seen(row_hashes(rows[:2500])) == pytest.approx(2500, abs=500)
    assert RowSketch.from_json(many.to_json()) == many


def test_equal_rows_are_set_aside_together():
    from jaxvision.uncertainty.tune import _tuned_rows

    hashes = np.repeat(np.arange(100, dtype=np.uint64), 3)
    tuned = _tuned_rows(hashes, 0.3, KEY)
    assert 205 <= tuned.sum() <= 212
    assert not set(hashes[tuned]) & set(hashes[~tuned])
    assert (tuned != _tuned_rows(hashes, 0.3, jax.random.key(1))).any()
