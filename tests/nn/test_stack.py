import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxvision
from jaxvision.functional import to_functional
from jaxvision.interception import intercept
from jaxvision.models.efficientnet import Stage
from jaxvision.nn.drop import Dropout, SiteKeys
from jaxvision.nn.norm import BatchNorm
from jaxvision.nn.stack import Stack
from jaxvision.nn.stack_layout import stack_blocks, unstack_blocks

OPTIONS = {"img_size": 32, "embed_dim": 16, "depth": 4, "num_heads": 2, "num_classes": 5}
RANDOM = {"drop_path_rate": 0.5, "proj_drop_rate": 0.2, "attn_drop_rate": 0.3}
X = jax.random.normal(jax.random.key(1), (3, 32, 32, 3))
WAYS = [{"remat": "full"}, {"remat": "dots"}, {"scan": True}, {"scan": True, "remat": "dots_with_no_batch_dims"}]


def run(**options):
    model = jaxvision.create_model("vit_tiny_patch16_224", **OPTIONS, **options)
    apply, variables = to_functional(model)

    def loss(params, key):
        return jnp.square(apply({**variables, "params": params}, X, key=key)[0]).sum()

    return jax.jit(jax.value_and_grad(loss))(variables["params"], jax.random.key(0))


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_how_a_stack_runs_changes_nothing(way):
    """Not the loss, not the gradients, not the masks of dropout, not a parameter's name."""
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), run(**RANDOM, **way), run(**RANDOM)
    )


def test_layers_of_a_scan_have_masks_of_their_own():
    class Counting(nnx.Module):
        """Adds 1 for its first layer, 2 for its second, 4 for its third wherever that layer dropped."""

        def __init__(self):
            self.drop = Dropout(0.5)

        def __call__(self, x, train=False, rngs=None):
            dropped = self.drop(jnp.ones_like(x[..., 0]), rngs) == 0
            return jnp.stack([x[..., 0] + dropped * x[..., 1], 2 * x[..., 1]], axis=-1)

    x = jnp.stack([jnp.zeros((64,)), jnp.ones((64,))], axis=-1)
    scanned, unrolled = (
        Stack([Counting() for _ in range(3)], scan=scan)(x, rngs=SiteKeys(jax.random.key(0))) for scan in (True, False)
    )
    assert len(np.unique(scanned[:, 0])) == 8, "all combinations of three independent masks"
    assert unrolled.shape == scanned.shape


def test_scan_compiles_one_block():
    text = {}
    for scan in (False, True):
        model = jaxvision.create_model("vit_tiny_patch16_224", **OPTIONS, scan=scan)
        apply, variables = to_functional(model)
        text[scan] = str(jax.make_jaxpr(apply)(variables, X))
    assert text[False].count("erf") == 4 * text[True].count("erf") > 0


def test_hooked_blocks_run_unrolled_each_with_its_path():
    model = jaxvision.create_model("vit_tiny_patch16_224", **OPTIONS, scan=True)
    seen = []

    def hook(site, call, x, *args, **kwargs):
        seen.append(site.path)
        return call(x, *args, **kwargs)

    np.testing.assert_allclose(intercept(model, {"blocks.*.mlp": hook})(X), model(X), atol=1e-5)
    assert seen == [f"blocks.{index}.mlp" for index in range(4)]


class Norm(nnx.Module):
    def __init__(self, rngs):
        self.norm = BatchNorm(3, rngs=rngs)

    def __call__(self, x, train=False, rngs=None):
        return 2 * self.norm(x, train)


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_batch_statistics_come_out(way):
    x = jax.random.normal(jax.random.key(0), (8, 3))
    plain, other = Stack([Norm(nnx.Rngs(0)) for _ in range(3)]), Stack([Norm(nnx.Rngs(0)) for _ in range(3)], **way)
    np.testing.assert_allclose(plain(x, train=True), other(x, train=True), atol=1e-5)
    for mine, theirs in zip(plain, other, strict=True):
        np.testing.assert_allclose(mine.norm.mean[...], theirs.norm.mean[...], atol=1e-6)
        np.testing.assert_allclose(mine.norm.var[...], theirs.norm.var[...], atol=1e-6)


class Add(nnx.Module):
    """A block with one number, told apart from others by ``kind``."""

    def __init__(self, value, kind="a"):
        self.value, self.kind = nnx.Param(jnp.float32(value)), kind

    def __call__(self, x, train=False, rngs=None):
        return 2 * x + self.value[...] if self.kind == "a" else jnp.sin(x) * self.value[...]


@pytest.mark.parametrize(
    ("kinds", "bodies"),
    [("aaaa", "s"), ("baaa", "us"), ("abab", "s"), ("ababa", "su"), ("aaabab", "suuu"), ("ab", "uu"), ("babaaa", "ss")],
)
def test_scan_takes_what_repeats_and_runs_the_rest_by_itself(kinds, bodies):
    plain, scanned = (Stack([Add(i + 1, kind) for i, kind in enumerate(kinds)], scan=scan) for scan in (False, True))
    np.testing.assert_allclose(scanned(jnp.ones(3)), plain(jnp.ones(3)), rtol=1e-5)
    assert str(jax.make_jaxpr(scanned)(jnp.ones(3))).count("scan[") == bodies.count("s")


SMALL = {
    "swin_tiny_patch4_window7_224": {
        "img_size": 16,
        "embed_dim": 8,
        "depths": (4,),
        "num_heads": (2,),
        "window_size": 2,
    },
    "resnet18": {"layers": (3, 3), "channels": (8, 16)},
    "efficientnet_b0": {
        "width": 0.25,
        "depth": (1.0, 1.5, 1.0),
        "head_size": 64,
        "stages": (
            Stage("mbconv", 2, 3, 1, 1, 32, 0.25),
            Stage("mbconv", 2, 5, 2, 4, 48, 0.25),
            Stage("fused", 1, 3, 1, 4, 48),
        ),
    },
}


@pytest.mark.parametrize("name", SMALL)
def test_convolutional_and_shifting_families_scan(name):
    """The same logits, gradients and batch statistics, in training and with paths dropped."""
    results = []
    for way in ({}, {"scan": True, "remat": "full"}):
        model = jaxvision.create_model(name, num_classes=5, drop_path_rate=0.3, **SMALL[name], **way)
        apply, variables = to_functional(model)

        def loss(params, apply=apply, variables=variables):
            logits, stats = apply({**variables, "params": params}, X[:, :16, :16], train=True, key=jax.random.key(0))
            return jnp.square(logits).sum(), stats

        step = jax.jit(jax.value_and_grad(loss, has_aux=True))
        assert ("scan[" in str(jax.make_jaxpr(step)(variables["params"]))) == bool(way)
        results.append(step(variables["params"]))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3), *results)


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", *SMALL])
def test_layouts_of_a_stack_convert_both_ways(name):
    options = SMALL.get(name, OPTIONS)
    _, variables = to_functional(jaxvision.create_model(name, **options))
    stacked = stack_blocks(variables)
    assert len(jax.tree.leaves(stacked)) < len(jax.tree.leaves(variables))
    restored = unstack_blocks(stacked)
    assert jax.tree.structure(restored) == jax.tree.structure(variables)
    jax.tree.map(np.testing.assert_array_equal, restored, variables)


def test_stacked_keys_are_ranges_of_blocks():
    array = np.arange(3.0)
    tree = {"layer": {str(i): {"w": array + i, **({"extra": array} if i == 0 else {})} for i in range(4)}, "w": array}
    stacked = stack_blocks(tree)
    assert set(stacked["layer"]) == {"0", "1:4"}
    np.testing.assert_array_equal(stacked["layer"]["1:4"]["w"], array + np.arange(1, 4)[:, None])
    np.testing.assert_array_equal(stacked["w"], array)
    with pytest.raises(ValueError, match=r"stacked already.*1:4"):
        stack_blocks(stacked)
    stacked["layer"]["1:4"]["w"] = np.zeros((2, 3))
    with pytest.raises(ValueError, match=r"1:4\.w has shape \(2, 3\), expected 3 blocks"):
        unstack_blocks(stacked)


def test_a_scan_reads_a_stacked_tree_without_a_copy():
    """Slicing the stacked arrays and stacking the slices is nothing to the compiler."""
    apply, variables = to_functional(jaxvision.create_model("vit_tiny_patch16_224", **OPTIONS, scan=True))
    stacked = stack_blocks(variables)
    temporary = {}
    for name, arrays, unstack in (("separate", variables, lambda v: v), ("stacked", stacked, unstack_blocks)):
        compiled = jax.jit(lambda v, unstack=unstack: apply(unstack(v), X)[0]).lower(arrays).compile()
        temporary[name] = compiled.memory_analysis().temp_size_in_bytes
    blocks = sum(leaf.nbytes for leaf in jax.tree.leaves(variables["params"]["blocks"]))
    assert temporary["separate"] - temporary["stacked"] > 0.8 * blocks


def test_unknown_remat():
    with pytest.raises(ValueError, match="did you mean 'dots'"):
        Stack([], remat="dot")
