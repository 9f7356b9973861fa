"""What makes a ResNet V2 one; its logits are in test_golden.py, and what all families do in test_models.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxvision
from jaxvision.functional import to_functional
from jaxvision.models.resnetv2 import FAMILY, VARIANTS, ResNetV2Config, pool_stem
from jaxvision.paths import named_variables
from jaxvision.uncertainty.presets import preset_sites
from jaxvision.weights.layout import timm_name, timm_shape

TINY = {"layers": (1, 3), "channels": (128, 128), "stem_chs": 32, "num_classes": 5}
X = np.random.default_rng(0).standard_normal((2, 32, 32, 3)).astype(np.float32)


def tiny(name, **options):
    return jaxvision.create_model(name, **{**TINY, **options})


def test_nothing_comes_between_one_addition_and_the_next():
    """Identity mappings: with branches of zero a stage hands on what its first block's shortcut gave, signs and all."""
    model = tiny("resnetv2_50d")
    for block in model.stages[1].blocks:
        block.conv3.kernel[...] = jnp.zeros_like(block.conv3.kernel[...])
    first = model.stages[1].blocks[0]

    @jax.jit
    def run(x):
        return first.downsample(first.act(first.norm1(x))), model.stages[1](x)

    shortcut, handed_on = run(X[..., :1] * np.ones(128, np.float32))
    np.testing.assert_allclose(handed_on, shortcut, atol=1e-6)
    assert shortcut.min() < -0.1, "no activation after the addition"


def test_the_scale_of_bits_kernels_does_not_matter():
    model = tiny("resnetv2_50x1_bit", layers=(1, 1))
    apply, variables = to_functional(model)
    scaled = jax.tree_util.tree_map_with_path(
        lambda path, value: 10 * value + 0.5 if value.ndim == 4 and "head" not in str(path) else value, variables
    )
    logits = jax.jit(lambda variables: apply(variables, X)[0])
    np.testing.assert_allclose(logits(scaled), logits(variables), atol=1e-4)
    assert not [v for v in named_variables(model).values() if isinstance(v, nnx.BatchStat)]


def test_bits_stem_pools_zeros_at_the_border():
    x = jnp.full((1, 4, 4, 1), -1.0)
    np.testing.assert_array_equal(pool_stem(x, "zero")[0, ..., 0], [[0, 0], [0, -1]])
    np.testing.assert_array_equal(pool_stem(x, "infinite")[0, ..., 0], [[-1, -1], [-1, -1]])
    assert {name for name, config in VARIANTS.items() if config.stem_pool == "zero"} == {
        name for name in VARIANTS if name.endswith("_bit")
    }


def test_the_classifier_is_a_1x1_convolution_in_files():
    model = tiny("resnetv2_18", layers=(1, 1))
    shapes = {timm_name(n): timm_shape(n, v.get_value().shape) for n, v in named_variables(model).items()}
    assert shapes["head.fc.weight"] == (5, 128, 1, 1)
    kernel = np.random.default_rng(1).standard_normal((5, 128)).astype(np.float32)
    pooled = np.random.default_rng(2).standard_normal((2, 128)).astype(np.float32)
    for array in (kernel, kernel[:, :, None, None]):  # a linear layer's shape fits as well
        jaxvision.load_weights(model, {"head.fc.weight": array}, format="timm", strict=False)
        np.testing.assert_allclose(model.classify(pooled), pooled @ kernel.T, atol=1e-4)


@pytest.mark.parametrize("name", ["resnetv2_50x1_bit", "resnetv2_50d"])
def test_the_stem_of_rgb_weights_fits_other_images(name):
    rgb, grey = (tiny(name, layers=(1, 1), in_chans=channels) for channels in (3, 1))
    weights = {
        timm_name(n): np.asarray(v.get_value()).transpose(3, 2, 0, 1) if v.get_value().ndim == 4 else v.get_value()
        for n, v in named_variables(rgb).items()
    }
    jaxvision.load_weights(grey, weights)
    first, summed = (getattr(model.stem, model.stem.first).kernel[...] for model in (grey, rgb))
    np.testing.assert_allclose(first, summed.sum(2, keepdims=True), atol=1e-6)


@pytest.mark.parametrize(("output_stride", "side"), [(32, 1), (16, 2), (8, 4)])
def test_output_stride(output_stride, side):
    model = jaxvision.create_model(
        "resnetv2_18d", layers=(1, 1, 1, 1), channels=(8, 8, 8, 8), stem_chs=8, output_stride=output_stride
    )
    assert jax.eval_shape(model.forward_features, X).shape == (2, side, side, 8)
    reductions = [2, *(min(reduction, output_stride) for reduction in (4, 8, 16, 32))]
    assert [level.reduction for level in model.feature_levels()] == reductions
    projected = [stage.blocks[0].downsample is not None for stage in model.stages]
    assert projected == [False, True, True, True], "also where a dilation takes the place of a stride, as in timm"


def test_scanned_blocks_train_as_unrolled_ones():
    def step(scan):
        apply, variables = to_functional(tiny("resnetv2_50", scan=scan))
        return jax.jit(lambda variables: apply(variables, X, train=True))(variables)

    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), step(True), step(False))


def test_presets_of_uncertainty_find_its_blocks():
    model = FAMILY.abstract(ResNetV2Config(**TINY))
    assert [place.path for place in preset_sites(model, "head")] == ["head.fc"]
    assert [place.path for place in preset_sites(model, "last-stage")] == [f"stages.1.blocks.{i}" for i in range(3)]
    assert len(preset_sites(model, "all-blocks")) == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"block": "wide"}, "block must be 'basic' or 'bottleneck', got 'wide'"),
        ({"stem": "tiered"}, "'7x7', 'deep' or 'deep_tiered'"),
        ({"stem_pool": "fixed"}, "'infinite' or 'zero'"),
        ({"conv": "std"}, "'plain' or 'standardised'"),
        ({"norm": "frn"}, "'evonorm_s0' or 'filter_response', got 'frn'"),
        ({"output_stride": 4}, "8, 16 or 32, got 4"),
        ({"layers": (1, 1)}, "one entry per stage"),
    ],
)
def test_impossible_configs_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ResNetV2Config(**options)
