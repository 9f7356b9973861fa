"""Tables of renames."""

import numpy as np
import pytest
from flax import nnx

import jaxvision
from jaxvision.paths import named_variables
from jaxvision.weights import load_weights
from jaxvision.weights.layout import timm_name, timm_shape
from jaxvision.weights.sources import SOURCES


def lukemelas_name(name: str, blocks: list[str], expanded: set[str]) -> str:
    """timm's name to EfficientNet-PyTorch's: the table written the other way round, as a check."""
    outside = {"conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head", "bn2": "_bn1", "classifier": "_fc"}
    layer, _, leaf = name.rpartition(".")
    if layer in outside:
        return f"{outside[layer]}.{leaf}"
    block, inner = ".".join(layer.split(".")[:3]), layer.split(".", 3)[3]
    if block in expanded:
        inside = {"conv_pw": "_expand_conv", "bn1": "_bn0", "conv_dw": "_depthwise_conv", "bn2": "_bn1"}
        inside |= {"conv_pwl": "_project_conv", "bn3": "_bn2"}
    else:
        inside = {"conv_dw": "_depthwise_conv", "bn1": "_bn1", "conv_pw": "_project_conv", "bn2": "_bn2"}
    inside |= {"se.conv_reduce": "_se_reduce", "se.conv_expand": "_se_expand"}
    return f"_blocks.{blocks.index(block)}.{inside[inner]}.{leaf}"


@pytest.mark.parametrize("name", ["tf_efficientnet_b0", "tf_efficientnet_b4", "tf_efficientnet_lite4"])
def test_lukemelas_reaches_every_variable_at_every_depth(name):
    model = nnx.eval_shape(lambda: jaxvision.create_model(name))
    variables = {n: v for n, v in named_variables(model).items() if isinstance(v, nnx.Param | nnx.BatchStat)}
    stages = [(stage, block) for stage in range(len(model.blocks)) for block in range(len(model.blocks[stage]))]
    blocks = [f"blocks.{stage}.{block}" for stage, block in stages]
    expanded = {block for block in blocks if f"{block}.conv_pwl.kernel" in variables}
    file, value_of = {}, {}
    for index, (variable_name, variable) in enumerate(variables.items()):
        shape = timm_shape(variable_name, variable.get_value().shape)
        key = lukemelas_name(timm_name(variable_name), blocks, expanded)
        file[key], value_of[variable_name] = np.broadcast_to(np.float32(index), shape), index
    report = load_weights(model, file)
    assert report.format == "lukemelas"
    assert len(report.loaded) == len(variables) == len(file)
    for variable_name, variable in variables.items():
        assert np.asarray(variable.get_value()).ravel()[0] == value_of[variable_name], variable_name


def test_lukemelas_knows_its_own_keys_only():
    source, other = SOURCES["lukemelas"], np.zeros(1)
    keys = ["_blocks.99._bn1.weight", "_blocks.0._strange.weight", "extra", "_other.weight", "conv_stem.weight"]
    named = list(source.to_timm(dict.fromkeys(keys, other), ["blocks.0.0.bn1.scale"]))
    assert [(name, entry.key) for name, entry in named] == [(None, key) for key in keys]
