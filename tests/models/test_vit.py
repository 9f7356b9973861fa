"""What every kind of block does, how a ViT starts, and how weights for another size are fitted to it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxvision
from jaxvision import uncertainty as uq
from jaxvision.functional import to_functional
from jaxvision.interception import intercept
from jaxvision.nn.drop import DropSite
from jaxvision.nn.patch import resample_patch_embed
from jaxvision.nn.position import resize_grid, resize_pos_embed
from jaxvision.paths import named_modules, named_variables
from jaxvision.weights import WeightsMismatchError
from jaxvision.weights.layout import timm_name
from tests.compiled import run

TINY = {"img_size": 32, "embed_dim": 16, "depth": 2, "num_heads": 2, "num_classes": 5}
BLOCKS = {
    "pre": {"init_values": 0.5, "qk_norm": True, "scale_attn_norm": True, "scale_mlp_norm": True, "mlp": "swiglu"},
    "res_post": {"init_values": 0.5, "norm": "rmsnorm"},
    "parallel_things": {"init_values": 0.5, "attn": "diff"},
    "parallel_scaling": {"init_values": 0.5, "qkv_bias": False},
    "diff_parallel_scaling": {},
}
RATES = {"proj_drop_rate": 0.2, "attn_drop_rate": 0.3, "drop_path_rate": 0.5}
X = jax.random.normal(jax.random.key(1), (3, 32, 32, 3))


def tiny(block="pre", **options):
    return jaxvision.create_model("vit_tiny_patch16_224", **{**TINY, "block": block, **BLOCKS[block], **options})


@pytest.mark.parametrize("block", BLOCKS)
def test_every_block_may_be_scanned_and_recomputed(block):
    """With all its dropout: the same logits; in the block with most to it also the same gradients."""
    model = tiny(block, **RATES)

    def both(scan, remat):
        model.blocks.scan, model.blocks.remat = scan, remat
        apply, variables = to_functional(model)

        def loss(params, key):
            logits, _ = apply({**variables, "params": params}, X, key=key)
            return jnp.square(logits).sum(), logits

        wanted = jax.grad(loss, has_aux=True) if block == "diff_parallel_scaling" else loss
        traced = jax.jit(wanted).trace(variables["params"], jax.random.key(0))
        return traced.lower().compile()(variables["params"], jax.random.key(0)), str(traced.jaxpr).count("scan[")

    (plain, loops), (other, more) = both(False, None), both(True, "full")
    assert more > loops, "the blocks are one loop"
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), plain, other)


@pytest.mark.parametrize("block", BLOCKS)
def test_every_block_shows_its_attention_and_asks_all_its_drop_sites(block):
    model = tiny(block, **RATES)
    sites = {path: m for path, m in named_modules(model).items() if isinstance(m, DropSite) and "blocks" in path}
    seen = {}

    def hook(site, call, x, *args):
        seen[site.path] = x
        return call(x, *args)

    hook.unfuses = True
    view = intercept(model, dict.fromkeys(sites, hook))

    def captured(x):
        return view(x), dict(seen)

    logits, inputs = jax.jit(captured)(X)
    np.testing.assert_allclose(logits, run(model, X), atol=1e-5)
    assert set(inputs) == set(sites)
    for path, x in inputs.items():
        rate = sites[path].rate
        if path.endswith("attn_drop"):
            assert x.shape == (3, 4 if "diff" in (BLOCKS[block].get("attn"), block[:4]) else 2, 5, 5)
            np.testing.assert_allclose(x.sum(-1), 1, atol=1e-5)
            assert rate == 0.3
        elif "drop_path" in path:
            assert rate == (0.5 if path.startswith("blocks.1") else 0)
        else:
            assert rate == 0.2


def test_initial_values_of_the_other_blocks():
    """timm's, where they differ from those of a plain ViT."""
    assert np.all(tiny("res_post").blocks[0].norm2.scale[...] == 0.5)
    block = tiny("parallel_scaling").blocks[0]
    assert np.all(block.ls.gamma[...] == 0.5)
    assert np.all(block.mlp_bias[...] == 0)
    first, second = tiny("diff_parallel_scaling").blocks
    assert first.lambda_init == pytest.approx(0.2)
    assert second.lambda_init == pytest.approx(0.8 - 0.6 * np.exp(-0.3))
    assert 0.01 < np.std(first.lambda_q1[...]) < 0.3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"block": "res_pst"}, "block must be one of .* did you mean 'res_post'"),
        ({"norm": "batchnorm"}, "norm must be one of .*'layernorm', 'rmsnorm'"),
        ({"pos_embed": "rope"}, "pos_embed must be one of"),
        ({"block": "parallel_scaling", "attn": "diff"}, "attn must be 'softmax'"),
        ({"block": "parallel_scaling", "scale_mlp_norm": True}, "scale_mlp_norm must be False"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        jaxvision.create_model("vit_tiny_patch16_224", **{**TINY, **options})


def test_sizes_that_are_not_whole_patches():
    image = jax.random.normal(jax.random.key(2), (1, 40, 60, 3))
    fixed = tiny(img_size=(40, 60))
    np.testing.assert_allclose(run(fixed, image), run(fixed, image.at[:, 32:].set(9).at[:, :, 48:].set(9)), atol=1e-5)
    with pytest.raises(ValueError, match=r"40x60 are not whole patches of 16; .*dynamic_img_pad=True"):
        jax.eval_shape(tiny(dynamic_img_size=True), image)
    padded = jnp.pad(image, ((0, 0), (0, 8), (0, 4), (0, 0)))
    whole = tiny(dynamic_img_size=True, dynamic_img_pad=True)
    np.testing.assert_allclose(run(whole, image), run(whole, padded), atol=1e-5)
    (shape,) = jax.eval_shape(lambda x: whole.forward_intermediates(x, 1, intermediates_only=True), image)
    assert shape.shape == (1, 3, 4, 16)


def test_patches_need_not_be_square():
    model = tiny(img_size=(32, 24), patch_size=(16, 8), dynamic_img_size=True, dynamic_img_pad=True)
    assert model.config.grid == (2, 3)
    assert model.patch_embed.proj.kernel.shape == (16, 8, 3, 16)
    assert model.feature_info.reduction() == [16, 16]
    for size, grid in (((32, 24), (2, 3)), ((40, 20), (3, 3))):
        images = jax.ShapeDtypeStruct((1, *size, 3), jnp.float32)
        (shape,) = jax.eval_shape(lambda x: model.forward_intermediates(x, 1, intermediates_only=True), images)
        assert shape.shape == (1, *grid, 16)
    with pytest.raises(ValueError, match=r"smaller than one patch of \(16, 48\)"):
        tiny(patch_size=(16, 48))
    with pytest.raises(ValueError, match=r"32x28 are not whole patches of \(16, 8\)"):
        jax.eval_shape(
            tiny(patch_size=(16, 8), dynamic_img_size=True), jax.ShapeDtypeStruct((1, 32, 28, 3), jnp.float32)
        )


def test_without_positions_the_order_of_patches_does_not_matter():
    model = tiny(pos_embed="none")
    assert "pos_embed" not in named_variables(model)
    turned = jnp.concatenate([X[:, 16:], X[:, :16]], axis=1)
    np.testing.assert_allclose(run(model, turned), run(model, X), atol=1e-5)


def test_left_out_patches_change_only_a_random_pass():
    apply, variables = to_functional(tiny(patch_drop_rate=0.5))
    plain, dropped = (jax.jit(lambda v, k=k: apply(v, X, key=k)[0])(variables) for k in (None, jax.random.key(0)))
    assert np.abs(dropped - plain).max() > 1e-6


def weights_of(model):
    return {name: np.asarray(variable.get_value()) for name, variable in named_variables(model).items()}


def test_a_larger_patch_sees_an_enlarged_patch_as_the_smaller_saw_it():
    """Beyer et al. 2023, eq. 4: equal inner products, exactly so when patches are enlarged."""
    rng = np.random.default_rng(0)
    kernel, patch = rng.standard_normal((4, 6, 3, 5)), rng.standard_normal((1, 4, 6, 3))
    for interpolation in ("bilinear", "bicubic"):
        larger = resample_patch_embed(kernel, (7, 9), interpolation)
        enlarged = resize_grid(jnp.asarray(patch), (7, 9), interpolation)
        seen = np.einsum("hwi,hwio->o", patch[0], kernel)
        np.testing.assert_allclose(np.einsum("hwi,hwio->o", enlarged[0], larger), seen, atol=1e-4)


def test_aligned_corners_stay_where_they_are():
    ramp = jnp.asarray(np.stack(np.meshgrid(np.arange(5.0), np.arange(3.0)), -1)[None])
    resized = resize_grid(ramp, (7, 9), "bilinear_aligned")[0]
    np.testing.assert_allclose(resized[0, :, 0], np.linspace(0, 4, 9), atol=1e-5)
    np.testing.assert_allclose(resized[:, 0, 1], np.linspace(0, 2, 7), atol=1e-5)


def test_weights_for_another_image_and_patch_are_fitted():
    small, large = tiny(img_size=64), tiny(img_size=(80, 48), patch_size=8, seed=1)
    report = jaxvision.load_weights(large, weights_of(small))
    assert {change.partition(":")[0] for change in report.adapted} == {"pos_embed", "patch_embed.proj.kernel"}
    assert np.all(large.cls_token[...] == small.cls_token[...])
    assert np.all(large.pos_embed[...][:, 0] == small.pos_embed[...][:, 0])


def test_position_embeddings_without_their_axes_are_told():
    file = weights_of(tiny())
    with pytest.raises(WeightsMismatchError, match=r"pos_embed: got \(16,\), expected \(1, 5, 16\)"):
        jaxvision.load_weights(tiny(), file | {"pos_embed": np.zeros(16, np.float32)})


def test_pooling_may_change_with_the_weights():
    """The last norm goes where the other pooling has it, attention's pooling is left aside, and the report tells."""
    averaging, token = tiny(global_pool="avg", seed=1), tiny()
    token.norm.scale[...] = jnp.arange(16.0)
    report = jaxvision.load_weights(averaging, weights_of(token))
    assert set(report.adapted) == {"norm.scale: as fc_norm.weight", "norm.bias: as fc_norm.bias"}
    np.testing.assert_array_equal(averaging.fc_norm.scale[...], np.arange(16.0))
    report = jaxvision.load_weights(tiny(seed=1), weights_of(tiny(global_pool="map")))
    assert "attn_pool.q.weight" in {timm_name(key) for key in report.dropped}
    with pytest.raises(WeightsMismatchError, match="attn_pool"):
        jaxvision.load_weights(nnx.eval_shape(lambda: tiny(global_pool="map")), weights_of(token))


def test_presets_drop_what_the_branches_of_every_block_add():
    def sites(block):
        paths = (site.path for site in uq.inject(tiny(block), "all-blocks").plan.sites)
        return {path for path in paths if path.startswith("blocks.1")}

    two = {"blocks.1.attn", "blocks.1.mlp"}
    things = {f"blocks.1.{branch}" for branch in ("attns.0.attn", "attns.1.attn", "ffns.0.mlp", "ffns.1.mlp")}
    both = {"blocks.1.drop_path"}
    assert [sites(block) for block in BLOCKS] == [two, two, things, both, both]


def test_as_many_patches_of_another_shape_of_image():
    """4x4 patches are as many as 2x8: a file does not tell, so the caller may."""
    square, wide = tiny(img_size=64), tiny(img_size=(32, 128), seed=1)
    jaxvision.load_weights(wide, weights_of(square))
    np.testing.assert_array_equal(wide.pos_embed[...], square.pos_embed[...])
    report = jaxvision.load_weights(wide, weights_of(square), img_size=(64, 64))
    assert report.adapted == ("pos_embed: (1, 17, 16) to (1, 17, 16)",)
    expected = resize_pos_embed(square.pos_embed[...], (2, 8), (4, 4), 1)
    np.testing.assert_allclose(wide.pos_embed[...], expected, atol=1e-6)
