"""BatchNorm folded into convolutions: the same results, in anyone's modules too, and what is left alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxvision
from jaxvision import uncertainty as uq
from jaxvision.fuse import foldable, fuse_batchnorm
from jaxvision.nn import BatchNorm, Conv2d
from jaxvision.paths import named_modules, named_variables
from tests.compiled import run
from tests.models.test_golden import golden, ours
from tests.reference.cases import families
from tests.reference.synthetic import images

GOLDEN = [("resnet", "resnet26t"), ("efficientnet", "tf_efficientnet_b0_odd")]
CONV_AND_NORM = [("conv1", "norm2"), ("conv2", "norm3")]
IMAGE = jax.ShapeDtypeStruct((1, 8, 8, 4), jnp.float32)


def spread(model):
    """Gives a model norms as training leaves them, none of them the identity."""
    rng = np.random.default_rng(0)
    for path, variable in named_variables(model).items():
        low, high = (0.5, 1.5) if path.endswith(("scale", "var")) else (-0.5, 0.5)
        if path.rpartition(".")[2] in ("scale", "var", "mean", "bias"):
            variable.set_value(jnp.asarray(rng.uniform(low, high, variable.shape), variable.dtype))
    return model


def tiny(layers=(1, 2), **options):
    model = jaxvision.create_model("resnet50t", layers=layers, channels=(4, 8), stem_width=8, num_classes=5, **options)
    return spread(model)


def norms(model):
    return {path for path, module in named_modules(model).items() if isinstance(module, BatchNorm | nnx.BatchNorm)}


def assert_same(model, fused, x, tolerance=3e-6):
    expected = np.asarray(run(model, x), np.float32)
    result = np.asarray(run(fused, x), np.float32)
    np.testing.assert_allclose(result, expected, rtol=0, atol=tolerance * np.abs(expected).max())


@pytest.mark.parametrize(("family", "name"), GOLDEN)
def test_all_norms_of_a_family_go_and_logits_are_still_timms(family, name):
    case = next(case for case in families()[family] if case.id == name)
    model = ours(case)
    assert {fold.norm for fold in foldable(model)} == norms(model)
    fused = fuse_batchnorm(model)
    assert not norms(fused)
    expected = golden(family)[name]
    logits = run(fused, images((2, *case.size, 3)))
    np.testing.assert_allclose(logits, expected, atol=1e-4 * max(1.0, np.abs(expected).max()), rtol=0)


def test_names_and_the_original():
    model = tiny()
    before = {path: variable.get_value() for path, variable in named_variables(model).items()}
    fused = fuse_batchnorm(model)
    assert all(variable.get_value() is before[path] for path, variable in named_variables(model).items())
    assert set(named_modules(fused)) == set(named_modules(model))
    folds = foldable(model)
    assert ("layer2.0.downsample.1", "layer2.0.downsample.2") in {(fold.conv, fold.norm) for fold in folds}
    expected = set(before) | {f"{fold.conv}.bias" for fold in folds}
    expected -= {f"{fold.norm}.{leaf}" for fold in folds for leaf in ("scale", "bias", "mean", "var")}
    assert set(named_variables(fused)) == expected
    images = jax.random.normal(jax.random.key(0), (2, 32, 32, 3))
    assert_same(model, fused, images)


def test_norms_before_convolutions_fold_where_one_follows_a_convolution():
    """Of a ResNet V2 those inside the branches and the stem; the first of a block and the last of all follow a sum."""
    model = spread(jaxvision.create_model("resnetv2_50d", layers=(1, 2), channels=(8, 16), stem_chs=8, num_classes=5))
    blocks = [path for stage in model.block_paths for path in stage]
    inside = {(f"{path}.{conv}", f"{path}.{norm}") for path in blocks for conv, norm in CONV_AND_NORM}
    stem = {("stem.conv1", "stem.norm1"), ("stem.conv2", "stem.norm2")}
    assert {(fold.conv, fold.norm) for fold in foldable(model)} == inside | stem
    fused = fuse_batchnorm(model)
    assert norms(fused) == {"norm", *(f"{path}.norm1" for path in blocks)}
    assert_same(model, fused, jax.random.normal(jax.random.key(0), (2, 32, 32, 3)))


def test_blocks_still_scan():
    model = tiny((1, 4), scan=True)
    fused = fuse_batchnorm(model)
    images = jax.random.normal(jax.random.key(0), (2, 32, 32, 3))
    assert_same(model, fused, images)
    apply, variables = jaxvision.to_functional(fused)
    assert "scan" in str(jax.make_jaxpr(apply)(variables, images))


def test_training_a_fused_model_is_an_error():
    with pytest.raises(ValueError, match=r"folded into the convolution .* train the model that was fused"):
        run(fuse_batchnorm(tiny()), jnp.zeros((2, 32, 32, 3)), train=True)


def test_bfloat16():
    fused = fuse_batchnorm(tiny(dtype=jnp.bfloat16, param_dtype=jnp.bfloat16))
    assert fused.conv1[0].kernel.dtype == fused.conv1[0].bias.dtype == jnp.bfloat16
    images = jax.random.normal(jax.random.key(0), (2, 32, 32, 3))
    assert run(fused, images).dtype == jnp.bfloat16
    assert_same(tiny(), fuse_batchnorm(tiny(dtype=jnp.bfloat16)), images, tolerance=0.05)


def test_injected_dropout_keeps_its_sites():
    fused = fuse_batchnorm(tiny())
    net = uq.inject(fused, ["layer*.*.bn1", "layer2.1.conv2"], rate=0.2)
    images = jax.random.normal(jax.random.key(0), (2, 32, 32, 3))
    prediction = net.predict(images, jax.random.key(1), num_samples=4)
    assert float(prediction.mutual_information.min()) > 0


class Theirs(nnx.Module):
    """A network of Flax's own layers: a norm in a `Sequential`, one after a linear layer, one without parameters."""

    def __init__(self, rngs):
        self.features = nnx.Sequential(
            nnx.Conv(4, 6, (3, 3), feature_group_count=2, rngs=rngs),
            nnx.BatchNorm(6, epsilon=1e-3, rngs=rngs),
            nnx.relu,
        )
        self.plain = nnx.Conv(6, 6, (1, 1), use_bias=False, rngs=rngs)
        self.norms = nnx.Dict(plain=nnx.BatchNorm(6, use_scale=False, use_bias=False, rngs=rngs))
        self.out = nnx.Linear(6, 3, rngs=rngs)
        self.last = nnx.BatchNorm(3, rngs=rngs)

    def __call__(self, x):
        x = self.features(x)
        return self.last(self.out(self.norms["plain"](self.plain(x)).mean((1, 2))))


def test_modules_of_flax():
    model = spread(Theirs(nnx.Rngs(0)))
    x = jax.random.normal(jax.random.key(0), (3, 8, 8, 4))
    assert [(fold.conv, fold.norm) for fold in foldable(model, x)] == [
        ("features.layers.0", "features.layers.1"),
        ("plain", "norms.plain"),
        ("out", "last"),
    ]
    fused = fuse_batchnorm(model, x)
    assert_same(model, fused, x)
    for train in (lambda: run(fused, x, train=True), lambda: nnx.view(fused, use_running_average=False)(x)):
        with pytest.raises(ValueError, match="folded into the convolution"):
            train()
    with pytest.raises(ValueError, match="give an example of its input"):
        fuse_batchnorm(model)


class Scaled(BatchNorm):
    """A norm that does more than a norm."""

    def __call__(self, x, train=False):
        return 2 * super().__call__(x, train)


class Traps(nnx.Module):
    """One norm that can be folded, and every way in which one cannot."""

    def __init__(self, rngs):
        names = [
            "good",
            "skip",
            "twice",
            "shared",
            "between",
            "trained",
            "subclass",
            "returned",
            "inner",
            "tied",
            "two",
        ]
        for name in names:
            setattr(self, name, Conv2d(4, 4, 1, rngs=rngs))
            norm = Scaled if name == "subclass" else BatchNorm
            setattr(self, f"{name}_norm", norm(4, rngs=rngs))
        self.two_other = BatchNorm(4, rngs=rngs)
        self.tie = Conv2d(4, 4, 1, rngs=rngs)
        self.tie.kernel = self.tied.kernel

    def __call__(self, x, train=False):
        x = self.good_norm(self.good(x), train)
        y = self.skip(x)
        x = y + self.skip_norm(y, train)  # used beside the norm
        x = self.twice_norm(self.twice(x), train)
        x = self.twice_norm(x, train)  # a norm that runs again, elsewhere
        x = self.shared_norm(self.shared(self.shared(x)), train)  # a convolution that runs again, without the norm
        x = self.between_norm(jax.nn.relu(self.between(x)), train)
        x = self.trained_norm(self.trained(x), True)  # always by the batch's statistics
        x = self.subclass_norm(self.subclass(x), train)
        x = self.tie(self.tied_norm(self.tied(x), train))
        y = self.two(x)
        x = self.two_norm(y, train) + self.two_other(y, train)
        y = self.inner(x)
        x = self.inner_norm(y, train) + jax.jit(lambda y: jnp.sin(y))(y)  # used inside another function
        y = self.returned(x)
        return self.returned_norm(y, train), y


def test_what_cannot_be_folded_stays():
    model = spread(Traps(nnx.Rngs(0)))
    assert [(fold.conv, fold.norm) for fold in foldable(model, IMAGE)] == [("good", "good_norm")]
    x = jax.random.normal(jax.random.key(0), (3, 8, 8, 4))
    fused = fuse_batchnorm(model, x)
    for result, expected in zip(run(fused, x), run(model, x), strict=True):
        np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-4)


class Repeated(nnx.Module):
    """A convolution and its norm that run three times, and are found under two names."""

    def __init__(self, rngs):
        self.conv = self.again = Conv2d(4, 4, 3, padding=1, rngs=rngs)
        self.norm = self.norm_again = BatchNorm(4, rngs=rngs)

    def __call__(self, x, train=False):
        for _ in range(2):
            x = jax.nn.relu(self.norm(self.conv(x), train))
        return self.norm_again(self.again(x), train)


def test_shared_modules():
    model = spread(Repeated(nnx.Rngs(0)))
    x = jax.random.normal(jax.random.key(0), (3, 8, 8, 4))
    fused = fuse_batchnorm(model, x)
    assert fused.norm is fused.norm_again
    assert fused.conv is fused.again
    assert_same(model, fused, x)


def test_nothing_to_fold():
    with pytest.raises(ValueError, match=r"nothing to fuse in VisionTransformer.* it has none"):
        fuse_batchnorm(jaxvision.create_model("vit_tiny_patch16_224", img_size=32, embed_dim=16, depth=1, num_heads=2))
    with pytest.raises(ValueError, match=r"its 1 BatchNorms \(layers.0\) do not"):
        fuse_batchnorm(nnx.Sequential(nnx.BatchNorm(4, rngs=nnx.Rngs(0))), IMAGE)
    with pytest.raises(ValueError, match="fuse the model first"):
        fuse_batchnorm(jaxvision.intercept(tiny(), {"bn1": lambda site, call, *args: call(*args)}))
