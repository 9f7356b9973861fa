import numpy as np
import pytest
from flax import nnx

import jaxvision
from jaxvision.nn import Conv2d, PatchEmbed
from jaxvision.nn.init import draw_torch_bias, small_normal, torch_linear


def test_projections_are_normal_and_not_cut():
    values = np.asarray(small_normal(nnx.Rngs(0).params(), (100, 400)))
    assert values.std() == pytest.approx(0.02, rel=0.02)
    assert np.mean(np.abs(values) > 0.04) == pytest.approx(0.0455, rel=0.1)  # beyond two deviations
    assert np.abs(values).max() > 0.07


def test_pytorchs_default_is_uniform_and_bounded_by_the_inputs():
    layer = Conv2d(4, 400, 5, groups=2, kernel_init=torch_linear, rngs=nnx.Rngs(0))
    assert np.all(layer.bias[...] == 0)
    draw_torch_bias(layer, nnx.Rngs(1))
    for values in (layer.kernel[...], layer.bias[...]):
        scaled = np.asarray(values) * (5 * 5 * 2) ** 0.5
        assert 0.97 < np.abs(scaled).max() <= 1
        assert scaled.std() == pytest.approx(3**-0.5, rel=0.05)
    bare = Conv2d(4, 4, 1, use_bias=False, rngs=nnx.Rngs(0))
    draw_torch_bias(bare, nnx.Rngs(1))
    assert bare.bias is None


def test_which_layers_keep_pytorchs_default():
    assert np.std(PatchEmbed(4, 3, 64, rngs=nnx.Rngs(0)).proj.bias[...]) == pytest.approx((3 * 48) ** -0.5, rel=0.3)
    model = jaxvision.create_model("seresnet18", num_classes=50, layers=(1,), channels=(16,))
    for layer in (model.fc, model.layer1[0].se.fc1, model.layer1[0].se.fc2):
        assert np.std(layer.bias[...]) > 0
    gate = jaxvision.create_model("efficientnet_b0", num_classes=50, depth=0.1).blocks[0][0].se
    assert np.all(gate.conv_reduce.bias[...] == 0)
