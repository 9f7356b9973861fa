"""The generic rule, on arrays whose every element can be told apart."""

import numpy as np
import pytest

from jaxvision.weights import WeightsError
from jaxvision.weights.entry import Entry
from jaxvision.weights.layout import timm_name, timm_shape, to_flax


def counting(*shape: int) -> np.ndarray:
    return np.arange(np.prod(shape)).reshape(shape)


def convert(name: str, array: np.ndarray, **shapes: tuple[int, ...]) -> dict[str, np.ndarray]:
    given = {key.replace("__", "."): shape for key, shape in shapes.items()}
    return {key: entry.array for key, entry in to_flax([(name, Entry("key", array))], given).items()}


def test_convolutions_go_from_oihw_to_hwio():
    weight = counting(5, 4, 2, 3)
    (kernel,) = convert("conv.weight", weight, conv__kernel=(2, 3, 4, 5)).values()
    assert kernel.shape == (2, 3, 4, 5)
    assert kernel[1, 2, 3, 4] == weight[4, 3, 1, 2]


def test_one_dimensional_convolutions():
    weight = counting(5, 4, 3)
    (kernel,) = convert("conv.weight", weight, conv__kernel=(3, 4, 5)).values()
    assert kernel[2, 3, 4] == weight[4, 3, 2]


def test_linear_layers_are_transposed():
    weight = counting(5, 4)
    np.testing.assert_array_equal(convert("fc.weight", weight, fc__kernel=(4, 5))["fc.kernel"], weight.T)


@pytest.mark.parametrize("shape", [(4, 5), (1, 1, 4, 5)])
@pytest.mark.parametrize("given", [(5, 4), (5, 4, 1, 1)])
def test_linear_layers_and_1x1_convolutions_stand_in_for_each_other(given, shape):
    weight = counting(*given)
    kernel = convert("fc.weight", weight, fc__kernel=shape)["fc.kernel"]
    np.testing.assert_array_equal(kernel, weight.reshape(5, 4).T.reshape(shape))


def test_a_larger_convolution_does_not_stand_in_for_a_linear_layer():
    assert convert("fc.weight", counting(5, 4, 2, 2), fc__kernel=(16, 5))["fc.kernel"].shape == (2, 2, 4, 5)


def test_depthwise_convolutions():
    assert convert("dw.weight", counting(8, 1, 3, 3), dw__kernel=(3, 3, 1, 8))["dw.kernel"].shape == (3, 3, 1, 8)


def test_norms_and_statistics():
    for leaf, name in {"weight": "scale", "bias": "bias", "running_mean": "mean", "running_var": "var"}.items():
        array = counting(3)
        converted = convert(f"bn.{leaf}", array, bn__scale=(3,))
        assert list(converted) == [f"bn.{name}"]
        np.testing.assert_array_equal(converted[f"bn.{name}"], array)


@pytest.mark.parametrize("name", ["cls_token", "pos_embed", "blocks.0.ls1.gamma", "attn.relative_position_bias_table"])
def test_other_parameters_keep_name_and_layout(name):
    array = counting(1, 4, 3)
    np.testing.assert_array_equal(convert(name, array)[name], array)


def test_the_model_decides_what_a_weight_is():
    assert list(convert("x.weight", counting(3, 4), x__scale=(3, 4))) == ["x.scale"]
    assert list(convert("x.weight", counting(4), x__kernel=(4,))) == ["x.kernel"]
    assert list(convert("x.weight", counting(3, 4), x__weight=(3, 4))) == ["x.weight"]
    assert list(convert("x.weight", counting(3, 4))) == ["x.kernel"]
    assert list(convert("x.weight", counting(4))) == ["x.scale"]


def test_two_names_of_one_variable_are_an_error():
    entries = [("x.weight", Entry("first", counting(3))), ("x.scale", Entry("second", counting(3)))]
    with pytest.raises(WeightsError, match=r"'first' and 'second' are both 'x\.scale'"):
        to_flax(entries, {})


@pytest.mark.parametrize("shape", [(3,), (4, 5), (3, 4, 5), (2, 3, 4, 5)])
def test_the_way_back_for_messages(shape):
    assert timm_name("a.b.kernel") == "a.b.weight"
    assert timm_name("bn.scale") == "bn.weight"
    assert timm_name("bn.var") == "bn.running_var"
    assert timm_name("pos_embed") == "pos_embed"
    back = timm_shape("a.kernel", shape)
    assert convert("a.weight", counting(*back), a__kernel=shape)["a.kernel"].shape == shape
    assert timm_shape("pos_embed", shape) == shape
