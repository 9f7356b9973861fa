"""Grad-CAM against formulas derived by hand, and on real photographs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxvision
from jaxvision.explain import grad_cam
from jaxvision.paths import PatternError
from tests.models.small import SMALL
from tests.weights.photographs import photograph

VIT = {"img_size": 24, "patch_size": 8, "embed_dim": 8, "depth": 2, "num_heads": 2, "num_classes": 5}
X = jax.random.normal(jax.random.key(1), (2, 32, 48, 3))


@pytest.fixture(scope="module")
def resnet():
    return jaxvision.create_model("resnet18", num_classes=5, layers=(1, 1), channels=(8, 16))


def test_a_linear_head_on_the_mean_has_a_closed_form(resnet):
    """There ``dy_c / dA`` is the classifier's row c over the number of places (the paper's section 3.1, CAM)."""
    heat = jax.jit(lambda x: (grad_cam(resnet, x, np.array([1, 4])), resnet.forward_features(x)))
    result, maps = heat(X)
    rows = np.asarray(resnet.fc.kernel[...]).T[[1, 4]]
    places = maps.shape[1] * maps.shape[2]
    expected = np.maximum(np.einsum("bhwc,bc->bhw", maps, rows) / places, 0)
    assert result.shape == (2, 4, 6)
    assert result.max() > 0
    np.testing.assert_allclose(result, expected, atol=1e-6)


def test_the_class_is_the_one_named_unless_another_is_asked_for(resnet):
    named = np.asarray(jax.jit(resnet)(X)).argmax(-1)
    maps = jax.jit(lambda x: [grad_cam(resnet, x), *(grad_cam(resnet, x, index) for index in range(5))])(X)
    for row, index in enumerate(named):
        np.testing.assert_allclose(maps[0][row], maps[1 + index][row], atol=1e-7)
    assert np.abs(np.asarray(maps[1]) - np.asarray(maps[2])).max() > 1e-6


def test_upsampled_normalized_and_of_several_layers(resnet):
    @jax.jit
    def maps(x):
        options = {"target": 0, "normalize": True}
        return (
            grad_cam(resnet, x, 0, upsample=True, normalize=True),
            grad_cam(resnet, x, **options),
            *(grad_cam(resnet, x, layer=layer, **options) for layer in ("layer1", "layer2.0", "layer*")),
        )

    large, last, first, block, mean = maps(X)
    assert large.shape == (2, 32, 48)
    np.testing.assert_allclose(large.min((1, 2)), 0)
    np.testing.assert_allclose(large.max((1, 2)), 1)
    np.testing.assert_allclose(block, last, atol=1e-6)
    resized = jax.image.resize(last, first.shape, "linear")
    joined = first + resized
    low, high = joined.min((1, 2), keepdims=True), joined.max((1, 2), keepdims=True)
    np.testing.assert_allclose(mean, (joined - low) / (high - low), atol=1e-5)


def test_one_logit_has_two_classes():
    model = jaxvision.create_model("resnet18", num_classes=1, layers=(1,), channels=(8,))
    first, second, named, logits = jax.jit(lambda x: (*(grad_cam(model, x, c) for c in (0, 1, None)), model(x)))(X)
    signed = np.einsum("bhwc,c->bhw", jax.jit(model.forward_features)(X), model.fc.kernel[...][:, 0]) / (8 * 12)
    np.testing.assert_allclose(second, np.maximum(signed, 0), atol=1e-6)
    np.testing.assert_allclose(first, np.maximum(-signed, 0), atol=1e-6)
    np.testing.assert_allclose(named, np.where(logits[..., None] > 0, second, first), atol=1e-7)


@pytest.mark.parametrize("name", SMALL)
def test_every_family_has_heat(name):
    """Against the only logit and for it: one map is where the other is not, and somewhere there is some."""
    model = jaxvision.create_model(name, num_classes=1, **SMALL[name])
    x = jnp.repeat(jax.random.normal(jax.random.key(3), (1, 32, 32, 3)), 2, axis=0)
    cold, hot = np.asarray(jax.jit(lambda x: grad_cam(model, x, np.array([0, 1]), upsample=True))(x))
    assert cold.shape == hot.shape == (32, 32)
    assert np.isfinite(cold + hot).all()
    assert min(cold.min(), hot.min()) >= 0
    assert np.ptp(cold + hot) > 0.1 * np.max(cold + hot) > 0


@pytest.mark.parametrize(
    ("name", "options"),
    [("vit_tiny_patch16_224", {"reg_tokens": 1}), ("deit_tiny_distilled_patch16_224", {})],
)
def test_what_a_class_token_reads(name, options):
    """The network split by hand where the last block's attention reads its tokens."""
    model = jaxvision.create_model(name, **VIT, **options)
    x = jax.random.normal(jax.random.key(2), (2, 24, 24, 3))

    @jax.jit
    def both(x):
        last = model.blocks[1]
        before = model.forward_intermediates(x, [0], intermediates_only=True, return_prefix_tokens=True)[0]
        tokens = jnp.concatenate([before[1], before[0].reshape(2, 9, 8)], axis=1)
        read = last.norm1(tokens)

        def logit(read):
            y = tokens + last.attn(read)
            y = model.norm(y + last.mlp(last.norm2(y)))
            logits = model.head(y[:, 0])
            return ((logits + model.head_dist(y[:, 1])) / 2 if model.head_dist is not None else logits)[:, 3].sum()

        gradient = jax.grad(logit)(read)[:, 2:]
        return grad_cam(model, x, 3), jax.nn.relu(jnp.einsum("bnc,bc->bn", read[:, 2:], gradient.mean(1)))

    result, expected = both(x)
    assert result.max() > 0
    np.testing.assert_allclose(result.reshape(2, 9), expected, atol=1e-6 * float(expected.max()) + 1e-9)


@pytest.mark.parametrize(
    ("name", "options", "layer"),
    [
        ("vit_base_patch16_siglip_224", {}, "blocks.1"),
        ("vit_small_patch16_18x2_224", {}, "blocks.1.attns.*.norm"),
        ("vit_base_patch16_xp_224", {}, "blocks.1.in_norm"),
        ("vit_small_patch16_224", {"block": "res_post"}, "blocks.0"),
    ],
)
def test_default_layers_of_vits_reach_the_logits(name, options, layer):
    model = jaxvision.create_model(name, **VIT, **options)
    x = jax.random.normal(jax.random.key(2), (2, 24, 24, 3))
    default, named = jax.jit(lambda x: (grad_cam(model, x, 0), grad_cam(model, x, 0, layer)))(x)
    assert default.shape == (2, 3, 3)
    assert default.max() > 0
    np.testing.assert_array_equal(default, named)


def test_mistakes_are_told(resnet):
    with pytest.raises(PatternError, match="no module matches 'layer3'"):
        grad_cam(resnet, X, layer="layer3")
    with pytest.raises(ValueError, match="no class 5: the model has 5, 0 to 4"):
        grad_cam(resnet, X, 5)
    with pytest.raises(ValueError, match="one class or one for each of 2 images"):
        grad_cam(resnet, X, np.array([1, 2, 3]))
    with pytest.raises(ValueError, match=r"'fc' gives no map but \(2, 5\)"):
        grad_cam(resnet, X, layer="fc")
    headless = jaxvision.create_model("resnet18", num_classes=0, layers=(1,), channels=(8,))
    with pytest.raises(ValueError, match="ResNet is no classifier here"):
        grad_cam(headless, X)
    swin = jaxvision.create_model(
        "swin_tiny_patch4_window7_224", img_size=32, embed_dim=8, depths=(1,), num_heads=(2,), window_size=4
    )
    with pytest.raises(ValueError, match=r"'layers.0.blocks.0.attn.proj' gives windows, not a map"):
        grad_cam(swin, X, layer="layers.0.blocks.0.attn.proj")


def test_the_heat_is_where_the_object_is():
    """A cat and a cup side by side, and real weights: each class lights up its own half."""
    model = jaxvision.create_model("tf_efficientnet_lite0.in1k", pretrained=True)
    cat, cup = photograph("chelsea"), photograph("coffee")
    picture = jnp.asarray(np.concatenate([cat[:, 56:168], cup[:, 40:152]], axis=1))[None]
    heat = jax.jit(lambda x, target: grad_cam(model, x, target))
    shares = [float(h[:, :, :3].sum() / h.sum()) for h in (heat(picture, target) for target in (282, 967))]
    assert shares[0] > 0.6
    assert shares[1] < 0.2
