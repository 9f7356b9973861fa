"""What the ResNet family's options do; its logits are in test_golden.py."""

import jax
import numpy as np
import pytest
from flax import nnx

import jaxvision
from jaxvision.functional import to_functional
from jaxvision.models.resnet import FAMILY, VARIANTS, ResNetConfig
from jaxvision.models.resnet_pruned import ECARESNET50D_PRUNED
from jaxvision.nn.blur import BlurPool2d
from jaxvision.paths import named_modules, named_variables

TINY = {"layers": (1, 1), "channels": (32, 32), "num_classes": 3}


def shapes(name):
    model = FAMILY.abstract(VARIANTS[name])
    return model, {path: variable.get_value().shape for path, variable in named_variables(model).items()}


def test_a_pruned_network_keeps_the_attention_of_what_it_was():
    """19 channels are left of 256, whose gates are made from 5 neighbours; 19 would have 3."""
    model, pruned = shapes("ecaresnet50d_pruned")
    _, whole = shapes("ecaresnet50d")
    assert pruned["layer1.0.conv3.kernel"] == (1, 1, 18, 19)
    assert pruned["layer1.0.se.conv.kernel"] == (5, 1, 1)
    assert pruned.keys() == whole.keys()
    assert {path for path in pruned if ".se." in path and pruned[path] != whole[path]} == set()
    assert [level.num_chs for level in model.feature_levels()] == [64, 19, 171, 818, 2022]


def test_each_stage_may_have_its_own_kind_of_block():
    model, _ = shapes("test_resnet")
    kinds = [type(getattr(model, f"layer{stage}")[0]).__name__ for stage in (1, 2, 3, 4)]
    assert kinds == ["BasicBlock", "BasicBlock", "Bottleneck", "BasicBlock"]
    assert [level.num_chs for level in model.feature_levels()] == [32, 32, 48, 192, 96]


def test_blur_pooling_is_where_a_stride_was():
    model, _ = shapes("resnetblur50")
    blurs = {path: module for path, module in named_modules(model).items() if isinstance(module, BlurPool2d)}
    assert list(blurs) == ["layer2.0.aa", "layer3.0.aa", "layer4.0.aa", "maxpool.1"]
    assert {blur.stride for blur in blurs.values()} == {2}
    assert [model.layer2[index].conv2.stride for index in (0, 1)] == [(1, 1), (1, 1)]


def test_a_convolution_for_stem_pooling_is_anti_aliased_too():
    model = FAMILY.abstract(ResNetConfig(**TINY, stem_pool="conv", anti_alias="blur"))
    conv, blur, norm, _ = model.maxpool
    assert (conv.stride, blur.stride, type(norm).__name__) == ((1, 1), 2, "BatchNorm")


def test_group_norm_has_no_statistics_and_no_training_mode():
    model = jaxvision.create_model("resnet50_gn", **TINY)
    assert not [v for v in named_variables(model).values() if isinstance(v, nnx.BatchStat)]
    x = np.random.default_rng(0).standard_normal((2, 32, 32, 3)).astype(np.float32)
    apply, variables = to_functional(model)
    train, evaluate = (
        jax.make_jaxpr(lambda variables, mode=mode: apply(variables, x, train=mode)[0])(variables)
        for mode in (True, False)
    )
    assert str(train) == str(evaluate)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"block": ("basic", "bottleneck")}, "or one for each stage"),
        ({"block": "wide"}, "must be one of"),
        ({"block": ("basic", "basic", "bottleneck", "basic"), "base_width": 128}, "for bottleneck blocks"),
        ({"norm": "layer"}, "norm must be 'batch' or 'group', got 'layer'"),
        ({"attn": "cbam"}, "attn must be 'se', 'eca' or None"),
        ({"anti_alias": True}, "anti_alias must be 'avg', 'blur' or None"),
        ({"stem": "tiered"}, "'7x7', 'deep' or 'deep_tiered'"),
        ({"widths": ECARESNET50D_PRUNED, "layers": (3, 4, 23, 3)}, r"\(3, 4, 6, 3\) per stage"),
        ({"layers": (1, 1)}, "one entry per stage"),
    ],
)
def test_impossible_configs_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ResNetConfig(**options)


def test_averaging_in_place_of_strides_tells_which_images_it_takes():
    model = jaxvision.create_model("resnetaa34d", **TINY)
    assert model(np.zeros((1, 65, 97, 3))).shape == (1, 3)
    with pytest.raises(ValueError, match=r"even height and width, got 9x8: make the image's .* multiples of .* 32"):
        model(np.zeros((1, 36, 32, 3)))
