"""Losses against PyTorch's values, closed forms and scikit-learn."""

import json
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import log_loss

from jaxvision.training.losses import TASKS, infer_task, make_task, positive_weights
from tests.training.torch_cases import LABELS, LOGITS, MULTIHOT, WEIGHTS

REFERENCE = json.loads(Path(__file__).with_name("torch_values.json").read_text())["losses"]
FOCAL = {"focal_gamma": 2.0, "focal_alpha": 0.25}
CASES = {
    "cross_entropy": ("multiclass", 5, {}, LOGITS, LABELS),
    "smoothed": ("multiclass", 5, {"smoothing": 0.1}, LOGITS, LABELS),
    "weighted": ("multiclass", 5, {"class_weights": WEIGHTS}, LOGITS, LABELS),
    "weighted_smoothed": ("multiclass", 5, {"class_weights": WEIGHTS, "smoothing": 0.1}, LOGITS, LABELS),
    "timm_bce": ("multiclass", 5, {"bce": True, "smoothing": 0.1}, LOGITS, LABELS),
    "binary": ("binary", 2, {}, LOGITS[:, :1], LABELS % 2),
    "binary_focal": ("binary", 2, FOCAL, LOGITS[:, :1], LABELS % 2),
    "multilabel": ("multilabel", 5, {}, LOGITS, MULTIHOT),
    "multilabel_weighted": ("multilabel", 5, {"class_weights": WEIGHTS}, LOGITS, MULTIHOT),
    "multilabel_focal": ("multilabel", 5, FOCAL, LOGITS, MULTIHOT),
    "regression": ("regression", 5, {}, LOGITS, MULTIHOT),
    "heteroscedastic": ("heteroscedastic", 2, {}, LOGITS[:, :4], MULTIHOT[:, :2]),
}


@partial(jax.jit, static_argnums=0)
def mean_loss(task, logits, targets):
    return jnp.sum(task.loss(logits, targets)) / jnp.sum(task.example_weight(targets))


@partial(jax.jit, static_argnums=0)
def loss_of_labels(task, logits, labels):
    return mean_loss(task, logits, task.targets(labels))


@pytest.mark.parametrize("case", CASES)
def test_the_mean_is_pytorchs(case):
    name, classes, options, logits, labels = CASES[case]
    task = make_task(name, classes, **options)
    np.testing.assert_allclose(loss_of_labels(task, logits, labels), REFERENCE[case], rtol=2e-6)


def test_every_reference_value_is_used():
    assert set(CASES) == set(REFERENCE)


def test_class_weights_of_one_logit_are_those_of_two():
    """With logits (0, z) the softmax is the sigmoid: every option must agree."""
    z, labels = LOGITS[:, :1], LABELS % 2
    pair = np.concatenate([np.zeros_like(z), z], -1)
    for options in (
        {"class_weights": [1.0, 3.0]},
        {"smoothing": 0.2, "class_weights": [2.0, 1.0]},
        {"focal_gamma": 1.5},
    ):
        one, two = make_task("binary", 2, **options), make_task("multiclass", 2, **options)
        np.testing.assert_allclose(loss_of_labels(one, z, labels), loss_of_labels(two, pair, labels), rtol=1e-5)
    np.testing.assert_allclose(one.probabilities(jnp.asarray(z)), two.probabilities(jnp.asarray(pair)), rtol=1e-5)


def test_weighted_mean_is_scikit_learns():
    task = make_task("multiclass", 5, class_weights=WEIGHTS)
    probabilities = softmax(LOGITS.astype(np.float64), axis=-1)
    np.testing.assert_allclose(task.probabilities(jnp.asarray(LOGITS)), probabilities, rtol=1e-5)
    expected = log_loss(LABELS, probabilities, sample_weight=WEIGHTS[LABELS], labels=range(5))
    np.testing.assert_allclose(loss_of_labels(task, LOGITS, LABELS), expected, rtol=1e-5)


def test_mixed_targets_mix_loss_and_weight():
    task = make_task("multiclass", 5, class_weights=WEIGHTS, smoothing=0.1)
    first, second = task.targets(jnp.asarray(LABELS)), task.targets(jnp.asarray(LABELS[::-1].copy()))
    mixed = 0.3 * first + 0.7 * second
    for of in (lambda targets: task.loss(LOGITS, targets), task.example_weight):
        np.testing.assert_allclose(of(mixed), 0.3 * of(first) + 0.7 * of(second), rtol=1e-5)
    np.testing.assert_allclose(task.example_weight(first), WEIGHTS[LABELS], rtol=1e-5)


def labels_for(name):
    return np.array([0, 1, 1, 0]) if name in ("multiclass", "binary") else np.eye(2)[[0, 1, 1, 0]]


@pytest.mark.parametrize(
    ("name", "gamma"),
    [*((name, 0.0) for name in TASKS), *((name, g) for name in ("multiclass", "binary") for g in (0.5, 2.0))],
)
def test_extreme_logits_have_finite_losses_and_gradients(name, gamma):
    task = make_task(name, 2, focal_gamma=gamma)
    size = 30.0 if name == "heteroscedastic" else 1e4
    logits = size * np.sin(np.arange(4 * task.num_outputs, dtype=np.float32)).reshape(4, -1).round()
    loss, gradient = jax.jit(jax.value_and_grad(partial(loss_of_labels, task)))(logits, labels_for(name))
    assert np.isfinite(loss)
    assert np.isfinite(gradient).all()
    assert np.abs(gradient).max() > 0


def test_small_losses_are_not_rounded_away():
    """log(sigmoid(30)) is -9.4e-14, which 1 - p cannot tell from 0 in float32."""
    task = make_task("binary", 2)
    loss = task.loss(jnp.full((1, 1), 30.0), jnp.ones((1, 1)))
    np.testing.assert_allclose(loss, [np.log1p(np.exp(-30.0))], rtol=1e-4)


@pytest.mark.parametrize("name", TASKS)
def test_half_precision_logits_are_computed_in_float32(name):
    task = make_task(name, 2)
    logits = np.linspace(-2, 2, 4 * task.num_outputs).reshape(4, -1).astype(jnp.bfloat16)
    run = jax.jit(lambda logits: (task.loss(logits, task.targets(labels_for(name))), task.probabilities(logits)))
    for half, full in zip(run(logits), run(logits.astype(np.float32)), strict=True):
        assert half.dtype == jnp.float32
        np.testing.assert_array_equal(half, full)


def sums_of(task, logits, labels):
    """Of four examples, the last of them padding."""
    weight = np.array([1, 1, 1, 0], np.float32)
    sums = jax.jit(lambda x, y: task.metrics(x, task.targets(y), weight))(np.asarray(logits, np.float32), labels)
    return {name: round(float(value), 5) for name, value in sums.items()}


def test_metrics_are_sums_that_leave_padding_out():
    right_right_wrong = np.eye(5)[[0, 3, 2, 3]]
    assert sums_of(make_task("multiclass", 5), right_right_wrong, LABELS) == {"correct": 2, "count": 3}
    rising = np.tile(np.arange(10.0), (4, 1))
    sums = sums_of(make_task("multiclass", 10), rising, np.array([9, 5, 4, 9]))
    assert sums == {"correct": 1, "count": 3, "top5": 2}
    logits = np.array([[1.0], [-1.0], [1.0], [1.0]])
    assert sums_of(make_task("binary", 2, smoothing=0.2), logits, np.array([1, 0, 0, 1])) == {"correct": 2, "count": 3}
    one_of_five_wrong = 2 * MULTIHOT - 1
    one_of_five_wrong[0, 0] = -1
    assert sums_of(make_task("multilabel", 5), one_of_five_wrong, MULTIHOT) == {"correct": 2.8, "count": 3}
    task = make_task("heteroscedastic", 1)
    sums = sums_of(task, [[1, 9], [2, 9], [3, 9], [4, 9]], np.array([1, 0, 0, 0], np.float32))
    assert sums == {"squared_error": 13, "absolute_error": 5, "count": 3}
    np.testing.assert_allclose(task.variance(jnp.array([[1.0, 2.0]])), [[np.exp(2)]], rtol=1e-6)


def test_positive_weights_balance_presence_and_absence():
    np.testing.assert_allclose(positive_weights(np.array([[1, 0], [1, 1], [0, 1], [1, 0]])), [1 / 3, 1])
    with pytest.raises(ValueError, match="never occur: 1"):
        positive_weights(np.array([[1, 0], [0, 0]]))


def test_heteroscedastic_loss_is_least_where_the_variance_is_the_squared_error():
    task = make_task("heteroscedastic", 1)
    log_variance = jnp.linspace(-3, 3, 601)
    losses = task.loss(jnp.stack([jnp.zeros(601), log_variance], -1), jnp.full((601, 1), 1.5))
    np.testing.assert_allclose(log_variance[jnp.argmin(losses)], np.log(1.5**2), atol=0.01)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("multiclas", 3), {}, "did you mean 'multiclass'"),
        (("binary", 3), {}, "2 classes, not 3"),
        (("multiclass", 3), {"smoothing": 1.0}, "below 1"),
        (("multiclass", 3), {"class_weights": [1, 2]}, "must be 3 finite numbers"),
        (("multiclass", 3), {"class_weights": [1, 2, -1]}, "at least 0"),
        (("multiclass", 3), {"focal_alpha": 0.5}, "focal_alpha: not for a multiclass task"),
        (("binary", 2), {"bce": True}, "bce: not for a binary task"),
        (("binary", 2), {"focal_gamma": -1}, "focal_gamma"),
        (("regression", 1), {"smoothing": 0.1}, "not for a regression task, which takes no option"),
    ],
)
def test_wrong_options_are_refused(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        make_task(*arguments, **options)


def test_a_model_with_the_wrong_number_of_outputs_is_refused():
    task = make_task("binary", 2)
    with pytest.raises(ValueError, match=r"gives \(4, 5\).*num_classes=1"):
        task.loss(LOGITS, task.targets(jnp.asarray(LABELS)))


def test_the_task_follows_from_the_labels():
    assert infer_task(np.array([0, 1, 1], np.int32), 2) == "binary"
    assert infer_task(np.array([0, 1, 2], np.int32), 3) == "multiclass"
    assert infer_task(MULTIHOT, 5) == "multilabel"
    assert infer_task(np.array([0.5, 1.0], np.float32), 1) == "regression"
    assert infer_task(np.array([[0.5, 1.0]], np.float32), 2) == "regression"
