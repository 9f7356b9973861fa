import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxvision
from jaxvision.functional import to_functional
from jaxvision.interception import intercept
from jaxvision.nn.drop import Dropout, SiteKeys
from jaxvision.nn.norm import BatchNorm
from jaxvision.nn.stack import Stack

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


def test_scan_refuses_blocks_that_differ():
    different = [Norm(nnx.Rngs(0)), Norm(nnx.Rngs(0))]
    different[1].norm.eps = 1e-3
    with pytest.raises(ValueError, match="block 1 differs from block 0"):
        Stack(different, scan=True)(jnp.ones((8, 3)))


def test_unknown_remat():
    with pytest.raises(ValueError, match="did you mean 'dots'"):
        Stack([], remat="dot")
