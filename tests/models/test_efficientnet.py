"""What is particular to networks of MBConvs: how a table becomes blocks, and the options of the blocks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxvision
from jaxvision.models._mbconv import ActivatedSeparable, BlockLayers, BlockShape, CondConvResidual, PackedSeparable
from jaxvision.models.efficientnet import VARIANTS, EfficientNetConfig, Stage
from jaxvision.nn.evo_norm import EvoNorm2dS0
from jaxvision.paths import named_modules, named_variables

# One block of every kind, CondConv, mixed kernels and a rate of stochastic depth.
MIXED = (
    Stage("separable", 1, 3, 1, 1, 16, 0.25),
    (Stage("mbconv", 1, (3, 5), 2, 3, 24, 0.5, expand_kernel=(1, 1)), Stage("fused", 1, 3, 1, 2, 24, group_size=8)),
    Stage("mbconv", 3, 3, 2, 2, 32, 0.25, experts=2),
)


def small(**options):
    options = {"stages": MIXED, "stem_size": 16, "head_size": 32, "num_classes": 5, **options}
    return jaxvision.create_model("efficientnet_b0", **options)


def pictures(*shape):
    return jax.random.normal(jax.random.key(0), shape or (3, 32, 32, 3))


@pytest.mark.parametrize(
    ("rows", "options", "expands"),
    [
        # Depth is given to the last rows first, as much as they had of the stage's blocks.
        ((2, 2), {"depth": 1.2}, (1, 1, 1, 2, 2)),
        ((1, 3), {"depth": 1.5}, (1, 1, 2, 2, 2, 2)),
        ((1, 1, 2), {"depth": 2}, (1, 1, 2, 2, 3, 3, 3, 3)),
        ((1, 1), {"depth": 0.1}, (1, 2)),
        ((3,), {"depth": 1.1}, (1, 1, 1, 1)),
        ((3,), {"depth": 1.1, "round_depth": True}, (1, 1, 1)),
        ((3,), {"depth": 3, "scale_ends": False}, (1, 1, 1)),
    ],
)
def test_depth_is_shared_by_the_rows_of_a_stage(rows, options, expands):
    stage = tuple(Stage("mbconv", repeats, 3, 1, expand, 16) for expand, repeats in enumerate(rows, 1))
    config = EfficientNetConfig((stage,), stem_size=16, **options)
    assert tuple(shape.hidden // 16 for _, shape in config.plan()[0]) == expands


def test_only_a_stages_first_block_strides_and_the_drop_rate_grows():
    config = EfficientNetConfig((Stage("mbconv", 2, 3, 2, 6, 24), Stage("mbconv", 2, 3, 2, 6, 40)), drop_path_rate=0.4)
    blocks = [shape for stage in config.plan() for _, shape in stage]
    assert [shape.stride for shape in blocks] == [2, 1, 2, 1]
    np.testing.assert_allclose([shape.drop_path for shape in blocks], [0.0, 0.1, 0.2, 0.3])


def test_a_stage_dilates_in_place_of_a_stride():
    """The block that would have strided is as dense as those before it; feature maps stay, as large as they become."""
    config = EfficientNetConfig(
        (Stage("mbconv", 2, 3, 2, 6, 24), *(Stage("mbconv", 2, 3, 2, 6, 40),) * 2), output_stride=4
    )
    blocks = [shape for stage in config.plan() for _, shape in stage]
    assert [shape.stride for shape in blocks] == [2, 1, 1, 1, 1, 1]
    assert [shape.dilation for shape in blocks] == [1, 1, 1, 2, 2, 4]
    dilated = small(output_stride=4)
    assert dilated.feature_info.reduction() == [2, 4, 4]
    assert dilated.feature_info.module_name() == small().feature_info.module_name()
    assert jax.eval_shape(dilated.forward_features, pictures()).shape == (3, 8, 8, 32)


def test_packed_pixels_are_unpacked_by_the_next_stride():
    """EfficientNet-X B3: two blocks of the first stage at half the stem's size, four times their 24 channels."""
    config = VARIANTS["efficientnet_x_b3"]
    first, second = config.plan()[:2]
    assert first[0][0] is PackedSeparable
    assert [(shape.stride, shape.out_features) for _, shape in first] == [(2, 96), (1, 96)]
    assert [(shape.stride, shape.hidden, shape.out_features) for _, shape in second] == [(1, 144, 32)] + 2 * [
        (1, 192, 32)
    ]


def test_packing_halves_the_map_and_the_kernel():
    block = PackedSeparable(BlockShape(8, 8, 24, kernel_size=3, squeeze=4), rngs=nnx.Rngs(0))
    assert block.conv_dw.kernel_size == (2, 2)
    assert block(pictures(1, 9, 8, 8)).shape == (1, 5, 4, 24)  # SAME, whatever the network's padding


def test_pruned_networks_keep_their_shortcuts():
    plan = VARIANTS["efficientnet_b1_pruned"].plan()
    assert [shape.hidden for _, shape in plan[1]] == [48, 62, 48]
    assert all(shape.in_features == shape.out_features and shape.skip for stage in plan for _, shape in stage[1:])
    with pytest.raises(ValueError, match=r"\[1\] blocks a stage, expected \[2\]"):
        EfficientNetConfig((Stage("mbconv", 2, 3, 1, 6, 16),), pruned=((16, (8,), (4,)),))


def test_groups_of_channels():
    grouped = jaxvision.create_model("efficientnet_b0", num_classes=0, stages=(MIXED[0]._replace(group_size=8),))
    assert grouped.blocks[0][0].conv_dw.groups == 4
    assert small().blocks[1][1].conv_exp.groups == 6


def test_a_mobilenet_activates_what_it_gives_and_adds_nothing():
    shape = BlockShape(8, 8, 8, act="relu6")
    y = ActivatedSeparable(shape, rngs=nnx.Rngs(0))(pictures(2, 8, 8, 8))
    assert y.min() == 0
    assert y.shape == (2, 8, 8, 8)


def test_evonorm_takes_the_activations_place():
    make = BlockLayers(norm="evo")
    assert make.make_act("silu")(-3.0) == -3.0
    model = jaxvision.create_model("test_efficientnet_evos", num_classes=0)
    norms = {path: norm.v is None for path, norm in named_modules(model).items() if isinstance(norm, EvoNorm2dS0)}
    linear = {path for path, is_linear in norms.items() if is_linear}
    assert linear == {"blocks.1.0.bn2", "blocks.2.0.bn2", "blocks.3.0.bn3", "blocks.4.0.bn3"}


def test_blurring_takes_the_strides_place():
    model = small(aa_layer="blurpc", stages=(Stage("mbconv", 2, 3, 2, 2, 16), Stage("fused", 1, 3, 2, 2, 24)))
    strided = model.blocks[0][0]
    assert (strided.conv_dw.stride, strided.aa.stride, model.blocks[0][1].aa) == ((1, 1), 2, None)
    assert jax.eval_shape(model.forward_features, pictures(1, 33, 30, 3)).shape == (1, 5, 4, 32)
    plain = small(aa_layer="blurpc", stages=(Stage("conv", 2, 3, 2, 1, 16),)).blocks[0]
    assert (plain[0].conv.stride, plain[0].aa.stride, plain[1].aa) == ((1, 1), 2, None)


def test_a_network_may_end_without_a_last_convolution():
    model = small(head_size=0)
    assert model.conv_head is None
    assert model.num_features == 32
    assert jax.eval_shape(model.forward_features, pictures()).shape == (3, 4, 4, 32)


def test_experts_are_chosen_for_each_image():
    shape = BlockShape(8, 16, 8, experts=2, squeeze=4)
    block = CondConvResidual(shape, rngs=nnx.Rngs(0))
    x = pictures(2, 6, 6, 8) + jnp.array([3.0, -3.0])[:, None, None, None]  # routed differently
    alone = jnp.concatenate([block(x[:1]), block(x[1:])])
    np.testing.assert_allclose(block(x), alone, atol=1e-5)
    block.routing_fn.kernel[...] *= 0
    assert np.abs(block(x) - alone).max() > 1e-3
    kernel = CondConvResidual(BlockShape(400, 8, 8, experts=100), rngs=nnx.Rngs(0)).routing_fn.kernel[...]
    assert 0.95 < np.abs(kernel).max() * 500**0.5 <= 1


def test_how_blocks_run_changes_nothing():
    """The blocks of both stages are alike and are scanned."""
    stages = (Stage("mbconv", 2, (3, 5), 1, 2, 16), Stage("mbconv", 2, 3, 1, 2, 16, 0.25, experts=2))

    def gradient(**options):
        apply, variables = jaxvision.to_functional(small(stages=stages, drop_path_rate=0.5, **options))

        def loss(params):
            given = {**variables, "params": params}
            logits, stats = apply(given, pictures(3, 8, 8, 3), train=True, key=jax.random.key(3))
            return jnp.square(logits).mean(), stats

        return jax.jit(jax.grad(loss, has_aux=True))(variables["params"])

    plain, other = gradient(), gradient(scan=True, remat="full")
    scale = max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(plain))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-3 * scale), plain, other)


def test_attributes_name_what_is_there():
    for name in ("mobilenetv1_100", "fbnetc_100", "tf_efficientnet_cc_b0_4e", "efficientnet_x_b3", "test_efficientnet"):
        model = nnx.eval_shape(lambda name=name: jaxvision.create_model(name), graph=True)
        modules, variables = named_modules(model), named_variables(model)
        assert variables[f"{model.input_conv}.kernel"].get_value().shape[2] == 3
        assert [variables[f"{path}.kernel"].get_value().shape[1] for path in model.classifiers] == [1000]
        assert all(path in modules for stage in model.block_paths for path in stage)
        assert [len(stage) for stage in model.block_paths] == [len(stage) for stage in model.config.plan()]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"norm": "bach"}, "norm must be 'batch' or 'group' or 'layer' or 'evo', got 'bach'"),
        ({"se_layer": "gca"}, "se_layer must be 'se' or 'gc'"),
        ({"output_stride": 64}, "output_stride must be 2, 4, 8, 16 or 32, got 64"),
        ({"stages": (Stage("mbcov", 1, 3, 1, 1, 16),)}, "did you mean 'mbconv'"),
        ({"stages": (Stage("fused", 1, 3, 1, 1, 16, experts=2),)}, "experts are for 'mbconv' blocks, got 'fused'"),
        ({"stages": (Stage("mbconv", 1, 3, 1, 1, 16, space_to_depth=True),)}, "space_to_depth is for 'separable'"),
        ({"stages": (Stage("mbconv", 1, (3, 5), 1, 2, 16, experts=2),)}, r"kernels \(3, 5\) need a plain or depthwise"),
    ],
)
def test_impossible_stages_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        small(**options)
