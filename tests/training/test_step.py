"""The step on a linear model, where everything can be worked out by hand, and on real ones."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxvision
from jaxvision.functional import to_functional
from jaxvision.training.losses import make_task
from jaxvision.training.optim import Optimizer, make_optimizer
from jaxvision.training.penalties import make_penalty
from jaxvision.training.state import TrainState
from jaxvision.training.step import make_eval_step, make_train_step

LR = 0.5
SGD = Optimizer(optax.identity(), lambda step: LR / (step + 1))
REGRESSION = make_task("regression", 1)


def linear(variables, x, train=False, key=None):
    """``x w``, with a statistic that moves to the mean of x."""
    stats = {"mean": 0.9 * variables["batch_stats"]["mean"] + 0.1 * x.mean()} if train else variables["batch_stats"]
    return x @ variables["params"]["fc"]["kernel"] + variables["params"]["bias"], stats


def prepare_numbers(batch, key):
    return batch["image"], REGRESSION.targets(batch["label"])


def state_of(optimizer=SGD, ema=False):
    params = {"fc": {"kernel": jnp.array([[1.0], [-1.0]])}}
    frozen = {"bias": jnp.array([0.5])}
    return TrainState.create(params, frozen, {"mean": jnp.zeros(())}, optimizer, jax.random.key(3), ema=ema)


def numbers(*shape, seed=0):
    rng = np.random.default_rng(seed)
    shape = shape or (4,)
    return {
        "image": rng.normal(size=(*shape, 2)).astype(np.float32),
        "label": rng.normal(size=shape).astype(np.float32),
        "weight": np.ones(shape, np.float32),
    }


def by_hand(batch, w):
    """Weighted mean squared error and its gradient."""
    x, y, weight = batch["image"], batch["label"][:, None], batch["weight"][:, None]
    error = x @ w + 0.5 - y
    return (weight * error**2).sum() / weight.sum(), 2 * x.T @ (weight * error) / weight.sum()


def test_one_update_by_hand():
    batch = numbers()
    batch["weight"][3] = 0
    state = state_of()
    step = jax.jit(make_train_step(linear, REGRESSION, SGD, prepare_numbers))
    w = np.array([[1.0], [-1.0]])
    for index in range(2):
        loss, gradient = by_hand(batch, w)
        w = w - LR / (index + 1) * gradient
        state, metrics = step(state, batch)
        np.testing.assert_allclose(state.params["fc"]["kernel"], w, rtol=1e-5)
        np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-5)
        np.testing.assert_allclose(metrics["grad_norm"], np.linalg.norm(gradient), rtol=1e-5)
        np.testing.assert_allclose(metrics["lr"], LR / (index + 1))
        assert (int(state.step), float(metrics["finite"]), float(metrics["count"])) == (index + 1, 1, 3)
    np.testing.assert_array_equal(state.frozen["bias"], [0.5])
    np.testing.assert_allclose(state.batch_stats["mean"], 0.19 * batch["image"].mean(), rtol=1e-5)
    assert {value.dtype for value in metrics.values()} == {jnp.dtype("float32")}


def test_the_rates_scale_is_the_hosts():
    state = dataclasses.replace(state_of(), lr_scale=jnp.asarray(0.1, jnp.float32))
    batch = numbers()
    new, metrics = jax.jit(make_train_step(linear, REGRESSION, SGD, prepare_numbers))(state, batch)
    np.testing.assert_allclose(metrics["lr"], 0.1 * LR, rtol=1e-6)
    w = np.array([[1.0], [-1.0]])
    np.testing.assert_allclose(new.params["fc"]["kernel"], w - 0.1 * LR * by_hand(batch, w)[1], rtol=1e-5)


def test_class_weights_normalise_the_mean_over_all_microbatches():
    """The ratio of sums, not the mean of the microbatches' ratios."""
    task = make_task("binary", 2, class_weights=[1.0, 5.0])
    batch = {**numbers(6), "label": np.array([1, 1, 0, 0, 0, 0], np.int32)}

    def prepare(batch, key):
        return batch["image"], task.targets(batch["label"])

    whole, metrics = jax.jit(make_train_step(linear, task, SGD, prepare))(state_of(), batch)
    split = {name: value.reshape(3, 2, *value.shape[1:]) for name, value in batch.items()}
    parts, of_parts = jax.jit(make_train_step(linear, task, SGD, prepare, accum_steps=3))(state_of(), split)
    np.testing.assert_allclose(parts.params["fc"]["kernel"], whole.params["fc"]["kernel"], rtol=1e-5)
    np.testing.assert_allclose(of_parts["loss"], metrics["loss"], rtol=1e-5)
    assert int(parts.step) == 1
    assert float(of_parts["count"]) == 6


def test_a_batch_that_is_not_split_is_refused():
    step = make_train_step(linear, REGRESSION, SGD, prepare_numbers, accum_steps=3)
    with pytest.raises(ValueError, match=r"\(3, b, ...\).*weight \(4,\)"):
        step(state_of(), numbers())


@pytest.mark.parametrize("where", ["loss", "gradient", "weight"])
def test_what_is_not_finite_changes_nothing_but_the_count(where):
    optimizer = make_optimizer("adam", state_of().params, lambda step: LR)
    state = state_of(optimizer, ema=True)
    good, bad = numbers(), numbers()

    def apply(variables, x, train=False, key=None):
        logits, stats = linear(variables, x, train)
        if where == "gradient":  # the square root's derivative is infinite at 0, where its value is fine
            logits += jnp.sqrt(jnp.abs(x.sum() * variables["params"]["fc"]["kernel"].sum()))
        return logits, stats

    if where == "loss":
        bad["label"][1] = np.nan
    elif where == "gradient":
        bad["image"][:] = 0
    else:
        bad["weight"][:] = 0
    step = jax.jit(make_train_step(apply, REGRESSION, optimizer, prepare_numbers, ema_decay=0.9))
    for count in (1, 2):
        new, metrics = step(state, bad)
        assert (float(metrics["finite"]), int(new.skipped)) == (0, count)
        same = dataclasses.replace(new, skipped=state.skipped)
        jax.tree.map(np.testing.assert_array_equal, _arrays(same), _arrays(state))
        state = new
    state = dataclasses.replace(state, params={"fc": {"kernel": jnp.array([[1.0], [-0.5]])}})
    state, metrics = step(state, good)
    assert (float(metrics["finite"]), int(state.skipped), int(state.step)) == (1, 0, 1)
    assert np.isfinite(state.params["fc"]["kernel"]).all()


def _arrays(state):
    return dataclasses.replace(state, key=jax.random.key_data(state.key))


def test_averages_follow_the_recursion():
    step = jax.jit(make_train_step(linear, REGRESSION, SGD, prepare_numbers, ema_decay=0.8))
    warm = jax.jit(make_train_step(linear, REGRESSION, SGD, prepare_numbers, ema_decay=0.5, ema_warmup=True))
    state, other = state_of(ema=True), state_of(ema=True)
    average = warm_average = np.array([[1.0], [-1.0]])
    for index in range(1, 4):
        state, _ = step(state, numbers(seed=index))
        other, _ = warm(other, numbers(seed=index))
        w = np.asarray(state.params["fc"]["kernel"])
        average = 0.8 * average + 0.2 * w
        decay = min(0.5, 1 - index ** (-2 / 3))  # 0, 0.37, 0.5
        warm_average = decay * warm_average + (1 - decay) * w
        np.testing.assert_allclose(state.ema["params"]["fc"]["kernel"], average, rtol=1e-5)
        np.testing.assert_allclose(other.ema["params"]["fc"]["kernel"], warm_average, rtol=1e-5)
    assert float(state.ema["batch_stats"]["mean"]) != float(state.batch_stats["mean"])
    np.testing.assert_array_equal(state.variables(ema=True)["params"]["bias"], [0.5])


def test_the_penalty_is_added_once_and_reported_apart():
    batch = numbers(2, 4)
    penalty = make_penalty(state_of().params, l2=0.25)
    step = make_train_step(linear, REGRESSION, SGD, prepare_numbers, accum_steps=2, penalty=penalty)
    new, metrics = jax.jit(step)(state_of(), batch)
    w = np.array([[1.0], [-1.0]])
    loss, gradient = by_hand({name: value.reshape(8, *value.shape[2:]) for name, value in batch.items()}, w)
    np.testing.assert_allclose(new.params["fc"]["kernel"], w - LR * (gradient + 0.5 * w), rtol=1e-5)
    np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-5)
    np.testing.assert_allclose(metrics["penalty"], 0.5, rtol=1e-6)


def test_every_step_and_microbatch_has_its_own_key():
    def noisy(variables, x, train=False, key=None):
        return linear(variables, x)[0], {"mean": jax.random.uniform(key) + 10 * variables["batch_stats"]["mean"]}

    step = jax.jit(make_train_step(noisy, REGRESSION, SGD, prepare_numbers, accum_steps=2))
    seen = []
    state = state_of()
    for _ in range(2):
        before = float(state.batch_stats["mean"])
        state, _ = step(state, numbers(2, 4))
        seen.append(float(state.batch_stats["mean"]) - 100 * before)
    again, _ = step(state_of(), numbers(2, 4))
    assert seen[0] != pytest.approx(seen[1], rel=1e-3)  # 10 u + v of two draws
    assert float(again.batch_stats["mean"]) == seen[0]
    assert seen[0] % 1 != pytest.approx((seen[0] / 11) % 1, abs=1e-4)  # u is not v


def test_it_compiles_once():
    traces = []

    def counted(variables, x, train=False, key=None):
        traces.append(train)
        return linear(variables, x, train)

    optimizer = make_optimizer("adamw", state_of().params, lambda step: LR, weight_decay=0.1, clip_grad=1.0)
    step = jax.jit(make_train_step(counted, REGRESSION, optimizer, prepare_numbers, ema_decay=0.9), donate_argnums=0)
    state = state_of(optimizer, ema=True)
    for index in range(3):
        state, _ = step(state, numbers(seed=index))
        if index == 1:
            state = dataclasses.replace(state, lr_scale=jnp.asarray(0.1, jnp.float32))
    assert traces == [True]
    assert step._cache_size() == 1


def test_evaluation_gives_examples_and_sums():
    batch = numbers()
    batch["weight"][3] = 0
    outputs = jax.jit(make_eval_step(linear, REGRESSION, prepare_numbers))(state_of().variables(), batch)
    loss, _ = by_hand(batch, np.array([[1.0], [-1.0]]))
    np.testing.assert_allclose(outputs["loss_sum"] / outputs["weight_sum"], loss, rtol=1e-5)
    np.testing.assert_allclose(outputs["loss"][:3].mean(), loss, rtol=1e-5)
    assert outputs["logits"].shape == (4, 1)
    assert float(outputs["count"]) == 3


TASK = make_task("multiclass", 4, smoothing=0.1)


def prepare_classes(batch, key):
    return batch["image"], TASK.targets(batch["label"])


def perceptron(variables, x, train=False, key=None):
    params = variables["params"]
    hidden = jax.nn.standardize(x @ params["fc1"], axis=-1)
    return jax.nn.gelu(hidden) @ params["fc2"], {}


def test_accumulated_gradients_without_batch_statistics_are_those_of_the_whole_batch():
    rng = np.random.default_rng(0)
    batch = {
        "image": rng.normal(size=(12, 6)).astype(np.float32),
        "label": rng.integers(0, 4, 12).astype(np.int32),
        "weight": (np.arange(12) > 0).astype(np.float32),
    }
    params = {"fc1": rng.normal(size=(6, 16)).astype(np.float32), "fc2": rng.normal(size=(16, 4)).astype(np.float32)}
    optimizer = make_optimizer("momentum", params, lambda step: 0.1, clip_grad=0.5)

    def one_step(batch, accum_steps):
        state = TrainState.create(params, {}, {}, optimizer, jax.random.key(0))
        return jax.jit(make_train_step(perceptron, TASK, optimizer, prepare_classes, accum_steps=accum_steps))(
            state, batch
        )

    whole, metrics = one_step(batch, 1)
    parts, of_parts = one_step({name: value.reshape(4, 3, *value.shape[1:]) for name, value in batch.items()}, 4)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), parts.params, whole.params)
    for name in metrics:
        np.testing.assert_allclose(of_parts[name], metrics[name], rtol=1e-5)


def test_half_precision_compute_keeps_parameters_and_gradients_in_float32():
    model = jaxvision.create_model(
        "vit_tiny_patch16_224", img_size=16, embed_dim=8, depth=1, num_heads=2, num_classes=4, dtype=jnp.bfloat16
    )
    apply, variables = to_functional(model)
    optimizer = make_optimizer("momentum", variables["params"], lambda step: 0.1)
    state = TrainState.create(variables["params"], {}, {}, optimizer, jax.random.key(0))
    batch = {
        "image": np.zeros((2, 16, 16, 3), np.float32),
        "label": np.zeros(2, np.int32),
        "weight": np.ones(2, np.float32),
    }
    lowered = jax.jit(make_train_step(apply, TASK, optimizer, prepare_classes)).lower(state, batch)
    assert "bf16" in lowered.as_text()
    new, metrics = lowered.out_info
    trees = new.params, new.opt_state, metrics  # the momentum is the gradient, so far
    assert {leaf.dtype for leaf in jax.tree.leaves(trees)} == {jnp.dtype("float32")}
