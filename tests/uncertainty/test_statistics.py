import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision.uncertainty.results import ClassificationPrediction, RegressionPrediction, entropy_of
from jaxvision.uncertainty.statistics import ClassStatistic, ValueStatistic, Welford, class_logits


@pytest.mark.parametrize("chunk", [1, 7, 64, 1000])
def test_welford_against_two_passes_where_the_mean_is_large(chunk: int) -> None:
    values = (1000 + 0.01 * np.random.default_rng(0).normal(size=(1000, 5))).astype(np.float32)
    state = Welford(jnp.zeros(()), jnp.zeros(5), jnp.zeros(5))
    merge = jax.jit(lambda state, part: state.merge(Welford.of(part)))
    for start in range(0, 1000, chunk):
        state = merge(state, values[start : start + chunk])
    exact = values.astype(np.float64)
    np.testing.assert_allclose(state.mean, exact.mean(0), rtol=1e-6)
    np.testing.assert_allclose(state.variance, exact.var(0, ddof=1), rtol=2e-2 if chunk == 1 else 5e-3)
    cancelling = (values**2).mean(0) - values.mean(0) ** 2
    assert np.abs(cancelling - exact.var(0)).max() > 0.1 * exact.var(0).max()  # what this is here for


def test_class_statistic_against_its_definition() -> None:
    logits = jax.random.normal(jax.random.key(0), (12, 4, 3)) * 2
    statistic, temperature = ClassStatistic("classification"), jnp.float32(1.7)
    merged = statistic.merge(statistic.of(logits[:5], temperature), statistic.of(logits[5:], temperature))
    merged = statistic.merge(statistic.empty(jax.eval_shape(lambda: merged)), merged)
    done = statistic.finish(merged)
    probs = np.asarray(jax.nn.softmax(logits / 1.7), np.float64)
    np.testing.assert_allclose(done["probs"], probs.mean(0), rtol=1e-5)
    np.testing.assert_allclose(done["log_probs"], np.log(probs.mean(0)), rtol=1e-4)
    np.testing.assert_allclose(done["variance"], probs.var(0, ddof=1), rtol=1e-4)
    np.testing.assert_allclose(done["expected_entropy"], -(probs * np.log(probs)).sum(-1).mean(0), rtol=1e-5)
    votes = np.stack([(probs.argmax(-1) == k).mean(0) for k in range(3)], -1)
    np.testing.assert_allclose(done["votes"], votes, rtol=1e-6)
    np.testing.assert_allclose(statistic.error(merged), probs.std(0, ddof=1).max(-1) / np.sqrt(12), rtol=1e-4)


def test_log_probs_where_probabilities_underflow() -> None:
    logits = jnp.array([[[0.0, -200.0]], [[0.0, -210.0]]])
    statistic = ClassStatistic("classification")
    done = statistic.finish(statistic.of(logits, jnp.float32(1)))
    assert done["probs"][0, 1] == 0
    np.testing.assert_allclose(done["log_probs"][0, 1], -200 + np.log((1 + np.exp(-10)) / 2), rtol=1e-6)


def test_heteroscedastic_outputs_are_means_and_log_variances() -> None:
    outputs = jax.random.normal(jax.random.key(0), (6, 4, 2))
    statistic = ValueStatistic("heteroscedastic")
    done = statistic.finish(statistic.of(outputs, None))
    np.testing.assert_allclose(done["variance"], outputs[..., :1].var(0, ddof=1), rtol=1e-5)
    np.testing.assert_allclose(done["aleatoric"], jnp.exp(outputs[..., 1:]).mean(0), rtol=1e-5)
    with pytest.raises(ValueError, match="3 outputs are odd"):
        statistic.of(jnp.zeros((2, 4, 3)), None)


def test_binary_and_multilabel_outputs_as_two_classes() -> None:
    logit = jnp.array([[0.3], [-2.0]])
    np.testing.assert_allclose(jax.nn.softmax(class_logits("binary", logit))[:, 1], jax.nn.sigmoid(logit[:, 0]), 1e-6)
    assert class_logits("multilabel", jnp.zeros((5, 4))).shape == (5, 4, 2)
    with pytest.raises(ValueError, match="one logit"):
        class_logits("binary", jnp.zeros((5, 4)))
    with pytest.raises(ValueError, match="'regression'"):
        class_logits("classification", jnp.zeros((5, 1)))


def prediction(samples: jax.Array) -> ClassificationPrediction:
    probs = samples.mean(0)
    entropy = entropy_of(samples).mean(0)
    zero = jnp.zeros(len(probs))
    return ClassificationPrediction(probs, jnp.log(probs), probs, entropy, zero, zero, samples[0], jnp.int32(2))


def test_mutual_information_is_never_negative_and_0_for_equal_passes() -> None:
    one = jax.nn.softmax(jax.random.normal(jax.random.key(0), (50, 4)) * 3)
    assert bool((prediction(jnp.stack([one, one])).mutual_information <= 1e-6).all())
    assert bool((prediction(jnp.stack([one, one])).mutual_information >= 0).all())
    assert bool((prediction(jnp.stack([one, one[::-1]])).mutual_information >= 0).all())
    certain = prediction(jnp.array([[[1.0, 0.0]], [[0.0, 1.0]]]))
    np.testing.assert_allclose(certain.mutual_information, np.log(2), rtol=1e-6)


def test_interval() -> None:
    said = RegressionPrediction(jnp.zeros(1), jnp.array([3.0]), jnp.array([1.0]), jnp.zeros(1), jnp.int32(9))
    low, high = said.interval(0.95)
    np.testing.assert_allclose([low[0], high[0]], [-3.919928, 3.919928], rtol=1e-5)
    with pytest.raises(ValueError, match="between 0 and 1"):
        said.interval(95)
