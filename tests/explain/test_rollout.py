"""Attention rollout against matrices that are written out in full."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxvision
from jaxvision.explain import attention_rollout, rollout_matrix

VIT = {"img_size": 24, "patch_size": 8, "embed_dim": 8, "depth": 3, "num_heads": 2, "num_classes": 5}
SWIN = {"img_size": (36, 28), "embed_dim": 8, "depths": (2, 2), "num_heads": (2, 2), "window_size": 4}
X = jax.random.normal(jax.random.key(1), (2, 24, 24, 3))
MAPS = jax.random.normal(jax.random.key(1), (2, 36, 28, 3))


def restless(name, **options):
    """A model whose attention is far from even."""
    model = jaxvision.create_model(name, **options)
    random = np.random.default_rng(0)
    for path, variable in nnx.iter_graph(model, graph=True):
        if isinstance(variable, nnx.Param) and ("qkv" in path or "bias_table" in str(path)):
            variable.set_value(jnp.asarray(random.normal(0, 1, variable.get_value().shape), jnp.float32))
    return model


def with_weights(model, run, images):
    """What ``run`` gives, and the attention weights by the path of their dropout."""
    weights = {}

    def hook(site, call, x, *args):
        weights[site.path] = x
        return call(x, *args)

    hook.unfuses = True
    view = jaxvision.intercept(model, {"**.attn_drop": hook})
    result, found = jax.jit(lambda x: (run(x), (view(x), dict(weights))[1]))(images)
    return jax.tree.map(np.asarray, (result, found))


def mixed(weights):
    """``W + I`` with rows that sum to 1."""
    matrix = weights + np.eye(len(weights))
    return matrix / matrix.sum(-1, keepdims=True)


@pytest.mark.parametrize(("fusion", "ratio"), [("mean", 0.0), ("max", 0.4), ("min", 0.0)])
def test_vit(fusion, ratio):
    model = restless("vit_tiny_patch16_224", **VIT)

    def run(x):
        options = {"head_fusion": fusion, "discard_ratio": ratio}
        return rollout_matrix(model, x, **options), attention_rollout(model, x, **options)

    (matrix, heat), weights = with_weights(model, run, X)
    for image in range(2):
        expected = np.eye(10)
        for block in range(3):
            fused = getattr(np, fusion)(weights[f"blocks.{block}.attn.attn_drop"][image], axis=0)
            for row in fused:
                row[np.argsort(row, kind="stable")[: int(ratio * 10)]] = 0
            expected = mixed(fused) @ expected
        np.testing.assert_allclose(matrix[image], expected, atol=1e-6)
        np.testing.assert_allclose(heat[image].ravel(), expected[0, 1:], atol=1e-6)
    assert matrix[0, 0].std() > 0.05, "an even attention would show nothing"


def window_matrix(weights, size, window, shift):
    """The block matrix of one image's window attention, written down position by position."""
    (height, width), (step_down, step_across) = size, shift
    down, across = -(-height // window) * window, -(-width // window) * window
    matrix = np.zeros((height * width, height * width))

    def token(row, column):
        """The token at a place of the shifted and padded map; None for padding."""
        if row >= height or column >= width:
            return None
        return (row + step_down) % height * width + (column + step_across) % width

    number = 0
    for top in range(0, down, window):
        for left in range(0, across, window):
            places = [token(top + i, left + j) for i in range(window) for j in range(window)]
            for a, query in enumerate(places):
                for b, key in enumerate(places):
                    if query is not None and key is not None:
                        matrix[query, key] = weights[number, a, b]
            number += 1
    return matrix


def merging_matrix(size):
    """Means of 2x2 tokens, or of those that there are."""
    height, width = size
    matrix = np.zeros((-(-height // 2) * -(-width // 2), height * width))
    for row in range(height):
        for column in range(width):
            matrix[row // 2 * -(-width // 2) + column // 2, row * width + column] = 1
    return matrix / matrix.sum(-1, keepdims=True)


@pytest.mark.parametrize("name", ["swin_tiny_patch4_window7_224", "swinv2_tiny_window8_256"])
def test_swin(name):
    """Maps of 9x7 and 5x4 with windows of 4: padded, shifted, and merged at odd edges."""
    model = restless(name, **SWIN)

    def run(x):
        return rollout_matrix(model, x), attention_rollout(model, x)

    (matrix, heat), weights = with_weights(model, run, MAPS)
    shifts = [[(0, 0), (2, 2)], [(0, 0), (2, 0)]]  # the second map is one window wide
    assert [[block.shift for block in stage.blocks] for stage in model.layers] == shifts
    for image in range(2):
        expected = np.eye(63)
        for stage, size in enumerate([(9, 7), (5, 4)]):
            expected = merging_matrix((9, 7)) @ expected if stage else expected
            for block in range(2):
                fused = weights[f"layers.{stage}.blocks.{block}.attn.attn_drop"][image].mean(1)
                expected = mixed(window_matrix(fused, size, 4, shifts[stage][block])) @ expected
        np.testing.assert_allclose(matrix[image], expected, atol=1e-6)
        np.testing.assert_allclose(matrix[image].sum(-1), 1, atol=1e-6)
        np.testing.assert_allclose(heat[image].ravel(), expected.mean(0), atol=1e-6)
        assert heat[image].std() > 0.001


def test_one_block_respects_its_windows():
    model = restless("swin_tiny_patch4_window7_224", **{**SWIN, "img_size": 32, "depths": (1,), "num_heads": (2,)})
    images = jax.random.normal(jax.random.key(0), (1, 32, 32, 3))
    matrix = np.asarray(jax.jit(lambda x: rollout_matrix(model, x))(images))[0].reshape(8, 8, 8, 8)
    for row, column in np.ndindex(8, 8):
        inside = np.zeros((8, 8), bool)
        inside[row // 4 * 4 : row // 4 * 4 + 4, column // 4 * 4 : column // 4 * 4 + 4] = True
        assert (matrix[row, column][inside] > 0).all()
        assert (matrix[row, column][~inside] == 0).all()


def read(name, **options):
    """The share of each token in what is classified, without any blocks to mix them much."""
    model = restless(name, **{**VIT, "depth": 1}, **options)
    heat, matrix = jax.jit(lambda x: (attention_rollout(model, x), rollout_matrix(model, x)))(X)
    return model, np.asarray(heat).reshape(2, 9), np.asarray(matrix)


def test_what_is_classified_decides_where_the_rollout_starts():
    _, heat, matrix = read("deit_tiny_distilled_patch16_224")
    np.testing.assert_allclose(heat, matrix[:, :2, 2:].mean(1), atol=1e-6)
    _, heat, matrix = read("vit_base_patch16_gap_224")
    np.testing.assert_allclose(heat, matrix.mean(1), atol=1e-6)
    _, heat, matrix = read("vit_small_patch16_224", reg_tokens=1, global_pool="avg")
    np.testing.assert_allclose(heat, matrix[:, 2:, 2:].mean(1), atol=1e-6)
    model, heat, matrix = read("vit_base_patch16_siglip_224")
    tokens = jax.jit(model.forward_features)(X)
    weights = np.asarray(jax.jit(model.attn_pool.weights)(tokens)).mean(1)[:, 0]
    np.testing.assert_allclose(heat, np.einsum("bn,bnk->bk", weights, matrix), atol=1e-6)
    np.testing.assert_allclose(heat.sum(-1), 1, atol=1e-6)


@pytest.mark.parametrize("name", ["vit_small_patch16_18x2_224", "vit_dpwee_patch16_reg1_gap_256"])
def test_other_blocks(name):
    """Two attentions side by side are heads of one; a differential head counts where its difference is positive."""
    model = restless(name, **{**VIT, "depth": 1})
    (matrix,), weights = with_weights(model, lambda x: (rollout_matrix(model, x),), X)
    for image in range(2):
        heads = np.concatenate([maps[image] for maps in weights.values()])
        if name.startswith("vit_dpwee"):
            assert len(heads) == 4
            heads = np.maximum(heads[::2] - np.asarray(model.blocks[0]._factor()) * heads[1::2], 0)
        np.testing.assert_allclose(matrix[image], mixed(heads.mean(0)), atol=1e-6)


def test_on_request_as_large_as_the_picture_and_from_0_to_1():
    model = restless("vit_tiny_patch16_224", **VIT, scan=True, remat="full")
    heat, large = jax.jit(lambda x: (attention_rollout(model, x), attention_rollout(model, x, upsample=True)))(X)
    unit = jax.jit(lambda x: attention_rollout(model, x, normalize=True))(X)
    assert large.shape == (2, 24, 24)
    low, high = heat.min((1, 2), keepdims=True), heat.max((1, 2), keepdims=True)
    np.testing.assert_allclose(unit, (heat - low) / (high - low), atol=1e-5)


def test_mistakes_are_told():
    resnet = jaxvision.create_model("resnet18", num_classes=5, layers=(1,), channels=(8,))
    with pytest.raises(ValueError, match=r"ResNet has no attention.*grad_cam"):
        attention_rollout(resnet, X)
    model = jaxvision.create_model("vit_tiny_patch16_224", **VIT)
    with pytest.raises(ValueError, match="did you mean 'mean'"):
        attention_rollout(model, X, head_fusion="mea")
    with pytest.raises(ValueError, match="share from 0 to below 1, got 1"):
        rollout_matrix(model, X, discard_ratio=1)
