"""Swin and Swin V2: what their windows, their position bias and their attention are."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxvision
from jaxvision.functional import to_functional, variables_of
from jaxvision.models.swin import SwinConfig
from jaxvision.models.swin_v2 import CosineWindowAttention, SwinV2Config, log_spaced_offsets
from jaxvision.nn.window import in_windows, merge, partition
from jaxvision.paths import flatten
from jaxvision.training.groups import weight_decays

V2 = "swinv2_tiny_window8_256"
SMALL = {"img_size": 32, "embed_dim": 8, "depths": (2, 2), "num_heads": (2, 2), "window_size": 4, "num_classes": 5}
X = jax.random.normal(jax.random.key(1), (2, 32, 32, 3))


def randomised(module, seed=0):
    """The same module with no value left at 0 or 1."""
    random = np.random.default_rng(seed)
    for _, variable in nnx.iter_graph(module, graph=True):
        if isinstance(variable, nnx.Param):
            variable.set_value(jnp.asarray(random.normal(0, 0.3, variable.get_value().shape), jnp.float32))
    return module


def test_windows_are_put_together_as_they_were_cut():
    x = jax.random.normal(jax.random.key(0), (2, 8, 12, 3))
    np.testing.assert_array_equal(merge(partition(x, (4, 3)), (4, 3), (8, 12)), x)
    odd = x[:, :7, :11]
    np.testing.assert_array_equal(in_windows(odd, (4, 3), (2, 1), lambda windows: windows), odd)
    np.testing.assert_array_equal(partition(x, (4, 3))[0, 5], x[0, 4:, 3:6].reshape(12, 3))


@pytest.mark.parametrize(
    ("options", "windows", "shifts"),
    [
        ({}, [(7, 7)] * 4, [(3, 3), (3, 3), (3, 3), (0, 0)]),
        ({"img_size": (112, 224)}, [(7, 7), (7, 7), (7, 7), (4, 7)], [(3, 3), (3, 3), (0, 3), (0, 0)]),
        ({"window_size": (4, 8)}, [(4, 8)] * 3 + [(4, 7)], [(2, 4)] * 3 + [(2, 0)]),
        ({"window_size": (7, (4, 8), 14, 7)}, [(7, 7), (4, 8), (14, 14), (7, 7)], [(3, 3), (2, 4), (0, 0), (0, 0)]),
        ({"img_size": 64, "always_partition": True}, [(7, 7)] * 4, [(3, 3)] * 4),
        ({"img_size": 102}, [(7, 7), (7, 7), (7, 7), (4, 4)], [(3, 3), (3, 3), (0, 0), (0, 0)]),
    ],
)
def test_windows_and_shifts_of_the_stages(options, windows, shifts):
    config = SwinConfig(**options)
    assert [config.window(stage) for stage in range(4)] == windows
    assert [config.shift(stage) for stage in range(4)] == shifts


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (SwinConfig, {"window_size": (7, 7, 7)}, "one window, or one per stage: 4"),
        (SwinConfig, {"window_size": 0}, "at least one patch"),
        (SwinConfig, {"img_size": 3}, "smaller than one patch of 4"),
        (SwinV2Config, {"pretrained_window_sizes": (8, 8)}, "one entry per stage: 4"),
    ],
)
def test_impossible_windows_are_refused(kind, options, message):
    with pytest.raises(ValueError, match=message):
        kind(**options)


def test_offsets_are_logarithmic_and_measured_by_the_pretrained_window():
    table = log_spaced_offsets((3, 2)).reshape(5, 3, 2)
    np.testing.assert_allclose(table[:, 1, 0], [-np.log2(9) / 3, -np.log2(5) / 3, 0, np.log2(5) / 3, np.log2(9) / 3])
    np.testing.assert_allclose(table[0, :, 1], [-np.log2(9) / 3, 0, np.log2(9) / 3])
    np.testing.assert_allclose(log_spaced_offsets((5, 5), 3)[0, 0], -np.log2(8 * 4 / 2 + 1) / 3, rtol=1e-6)
    np.testing.assert_array_equal(log_spaced_offsets((1, 1)), [[0, 0]])


def attention(**options):
    layer = CosineWindowAttention(8, 2, (2, 3), rngs=nnx.Rngs(0), **options)
    return randomised(layer)


def by_hand(layer, x, mask):
    """Equations 2 and 3 in float64, one window, head and pair of positions after the other."""
    p = {name: np.asarray(value, np.float64) for name, value in flatten(variables_of(layer)["params"]).items()}
    x = np.asarray(x, np.float64)
    places = [(row, column) for row in range(2) for column in range(3)]
    result = np.zeros_like(x)
    for b, w in np.ndindex(*x.shape[:2]):
        query, key, value = np.split(x[b, w] @ p["qkv.kernel"], 3, axis=-1)
        query, value = query + p["q_bias"], value + p["v_bias"]
        for head in range(2):
            part = slice(4 * head, 4 * head + 4)
            logits = np.zeros((6, 6))
            for i, j in np.ndindex(6, 6):
                q, k = query[i, part], key[j, part]
                offset = np.subtract(places[i], places[j]) * 8 / np.array([1, 2])
                coordinates = np.sign(offset) * np.log2(1 + np.abs(offset)) / 3
                hidden = np.maximum(coordinates @ p["cpb_mlp.0.kernel"] + p["cpb_mlp.0.bias"], 0)
                bias = 16 / (1 + np.exp(-hidden @ p["cpb_mlp.2.kernel"][:, head]))
                scale = min(np.exp(p["logit_scale"][head, 0, 0]), 100)
                logits[i, j] = scale * (q @ k) / np.linalg.norm(q) / np.linalg.norm(k) + bias + mask[w, i, j]
            weights = np.exp(logits - logits.max(-1, keepdims=True))
            result[b, w, :, part] = weights / weights.sum(-1, keepdims=True) @ value[:, part]
    return result @ p["proj.kernel"] + p["proj.bias"]


@pytest.mark.parametrize("scale", [2.0, 9.0])
def test_cosine_attention_is_the_papers(scale):
    layer = attention()
    layer.logit_scale.set_value(jnp.full((2, 1, 1), scale))
    x = jax.random.normal(jax.random.key(0), (2, 3, 6, 8))
    mask = np.where(np.random.default_rng(0).random((3, 6, 6)) < 0.3, -100, 0).astype(np.float32)
    np.testing.assert_allclose(jax.jit(lambda x: layer(x, mask))(x), by_hand(layer, x, mask), atol=2e-5)


def test_cosines_are_float32_whatever_the_compute_dtype():
    """Summing the squares of 4096 bfloat16 numbers in bfloat16 would lose most of them."""
    layer, half = attention(), attention(dtype=jnp.bfloat16)
    x = jax.random.normal(jax.random.key(0), (1, 2, 6, 8))
    assert jax.eval_shape(half, x.astype(jnp.bfloat16)).dtype == jnp.bfloat16
    assert half.bias().dtype == jnp.float32
    np.testing.assert_array_equal(half.bias(), layer.bias())
    query = 3 * jnp.ones((1, 1, 1, 2, 4096), jnp.bfloat16)
    value = jax.random.normal(jax.random.key(1), (1, 1, 2, 2, 4096), jnp.bfloat16)
    keys = jnp.concatenate([query, -query], axis=2)
    bias = jnp.zeros((1, 2, 1, 2))
    half.logit_scale.set_value(jnp.full((2, 1, 1), np.log(2.0)))
    share = jax.nn.sigmoid(4.0)  # cosines of 1 and -1, times 2
    expected = share * value[:, :, :1].astype(jnp.float32) + (1 - share) * value[:, :, 1:].astype(jnp.float32)
    result = jax.jit(lambda q, k, v: half.attend(q, k, v, bias, None))(query, keys, value)
    np.testing.assert_allclose(result.astype(jnp.float32), expected, atol=0.03)


def test_a_padded_token_gets_no_gradient():
    """Its key is exactly 0, where the gradient of the length would be infinite."""
    layer = attention()
    x = jax.random.normal(jax.random.key(0), (1, 1, 6, 8)).at[:, :, 4:].set(0)
    gradient = jax.jit(jax.grad(lambda x: jnp.square(layer(x)[:, :, :4]).sum()))(x)
    assert np.isfinite(gradient).all()
    assert np.abs(gradient).max() < 1e3


def test_a_new_block_passes_its_input_on():
    model = jaxvision.create_model(V2, **SMALL)
    x = jax.random.normal(jax.random.key(0), (1, 8, 8, 8))
    np.testing.assert_array_equal(jax.jit(lambda x: model.layers[0].blocks[1](x))(x), x)


def test_hooks_on_the_weights_see_them_and_change_nothing():
    model = randomised(jaxvision.create_model(V2, **SMALL))
    seen = {}

    def hook(site, call, weights, *args):
        seen[site.path] = weights
        return call(weights, *args)

    hook.unfuses = True
    view = jaxvision.intercept(model, {"**.attn_drop": hook})

    def both(x):
        return view(x), dict(seen), model(x)

    hooked, weights, plain = jax.jit(both)(X)
    np.testing.assert_allclose(hooked, plain, atol=1e-5)
    assert weights["layers.0.blocks.1.attn.attn_drop"].shape == (2, 4, 2, 16, 16)
    for values in weights.values():
        np.testing.assert_allclose(values.sum(-1), 1, atol=1e-5)


def test_scanned_pairs_of_blocks_give_the_same_logits():
    def run(**way):
        options = {**SMALL, "img_size": 16, "window_size": 2, "depths": (4,), "num_heads": (2,)}
        apply, variables = to_functional(randomised(jaxvision.create_model(V2, **options, **way)))
        call = jax.jit(lambda variables: apply(variables, X[:, :16, :16])[0])
        assert ("scan[" in str(jax.make_jaxpr(call)(variables))) == bool(way)
        return call(variables)

    np.testing.assert_allclose(run(scan=True, remat="full"), run(), atol=1e-5)


def test_what_decays_in_swin_v2():
    params = variables_of(nnx.eval_shape(lambda: jaxvision.create_model(V2, **SMALL)))["params"]
    decays = flatten(weight_decays(params, 0.1))
    assert {name.split(".", 4)[-1] for name, decay in decays.items() if decay and ".blocks." in name} == {
        "attn.qkv.kernel", "attn.proj.kernel", "mlp.fc1.kernel", "mlp.fc2.kernel"
    }  # fmt: skip


@pytest.mark.parametrize("name", ["swin_tiny_patch4_window7_224", V2])
def test_images_must_be_whole_patches_or_of_the_models_size(name):
    model = jaxvision.create_model(name, **{**SMALL, "img_size": (34, 30)})
    assert jax.eval_shape(model, jnp.zeros((1, 34, 30, 3))).shape == (1, 5)
    assert jax.eval_shape(model, jnp.zeros((1, 52, 36, 3))).shape == (1, 5)
    with pytest.raises(ValueError, match=r"50x36 are not whole patches of 4.*img_size=\(50, 36\)"):
        model(jnp.zeros((1, 50, 36, 3)))
