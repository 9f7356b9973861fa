"""What went wrong in other zoos, and what every model here must do."""

import dataclasses
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxvision
from jaxvision.functional import to_functional, variables_of
from jaxvision.models.efficientnet import Stage
from jaxvision.nn.window import partition, shift_mask
from jaxvision.paths import named_modules
from tests.compiled import run

SMALL = {
    "vit_tiny_patch16_224": {"img_size": 32, "embed_dim": 16, "depth": 2, "num_heads": 2},
    "swin_tiny_patch4_window7_224": {
        "img_size": 32,
        "embed_dim": 8,
        "depths": (2, 2),
        "num_heads": (2, 2),
        "window_size": 4,
    },
    "efficientnet_b0": {
        "width": 0.25,
        "head_size": 64,
        "stages": (
            Stage("mbconv", 1, 3, 1, 1, 32, 0.25),
            Stage("mbconv", 2, 5, 2, 4, 48, 0.25),
            Stage("fused", 1, 3, 1, 4, 48),
        ),
    },
    "resnet18": {"layers": (1, 2), "channels": (8, 16)},
    "resnetv2_18": {"layers": (1, 2), "channels": (8, 16), "stem_chs": 8},
}
RATES = {
    "vit_tiny_patch16_224": ("drop_rate", "pos_drop_rate", "proj_drop_rate", "attn_drop_rate", "drop_path_rate"),
    "swin_tiny_patch4_window7_224": ("drop_rate", "proj_drop_rate", "attn_drop_rate", "drop_path_rate"),
    "efficientnet_b0": ("drop_rate", "drop_path_rate"),
    "resnet18": ("drop_rate", "drop_path_rate"),
    "resnetv2_18": ("drop_rate", "drop_path_rate"),
}
FAMILIES = pytest.mark.parametrize("name", SMALL)


def small(name, **options):
    return jaxvision.create_model(name, **{"num_classes": 5, **SMALL[name], **options})


def pictures(*shape):
    return jax.random.normal(jax.random.key(1), shape or (3, 32, 32, 3))


@FAMILIES
def test_evaluation_is_deterministic_with_every_rate_on(name):
    model = small(name, **dict.fromkeys(RATES[name], 0.5))
    quiet = small(name, **dict.fromkeys(RATES[name], 0.0))
    np.testing.assert_array_equal(run(model, pictures()), run(model, pictures()))
    np.testing.assert_array_equal(run(model, pictures()), run(quiet, pictures()))


@pytest.mark.parametrize(("name", "rate"), [(name, rate) for name in RATES for rate in RATES[name]])
def test_every_rate_changes_something(name, rate):
    model = small(name, **{**dict.fromkeys(RATES[name], 0.0), rate: 0.9})
    for module in named_modules(model).values():  # zero-initialised residual branches would hide a dropped path
        if type(module).__name__ == "BatchNorm":
            module.scale[...] = jnp.ones_like(module.scale[...])
    apply, variables = to_functional(model)
    keys = jax.random.split(jax.random.key(0), 8)  # a path may be kept by chance
    samples = jax.jit(jax.vmap(lambda key: apply(variables, pictures(), key=key)[0]))(keys)
    assert np.ptp(samples, axis=0).max() > 1e-6  # what does not depend on the key is equal to the bit


@FAMILIES
def test_no_option_is_swallowed(name):
    with pytest.raises(TypeError, match="did you mean 'drop_rate'"):
        small(name, drop_rat=0.1)


@FAMILIES
@pytest.mark.parametrize("channels", [1, 4])
def test_any_input_channels_and_head(name, channels):
    model = small(name, in_chans=channels, num_classes=7)
    assert run(model, pictures(2, 32, 32, channels)).shape == (2, 7)
    features = small(name, num_classes=0)
    assert run(features, pictures()).shape == (3, features.num_features)
    assert features.classifiers == ()


@FAMILIES
def test_wrong_channels_are_told(name):
    with pytest.raises(ValueError, match=r"\b3\b.*\b4\b|\b4\b.*\b3\b"):
        small(name)(pictures(1, 32, 32, 4))


@FAMILIES
@pytest.mark.parametrize("size", [(48, 32), (32, 64)])
def test_images_need_not_be_square(name, size):
    assert run(small(name, img_size=size), pictures(1, *size, 3)).shape == (1, 5)


def test_vit_refuses_another_size_unless_it_may_adapt():
    with pytest.raises(ValueError, match=r"32x32, got 48x32; .*dynamic_img_size=True"):
        small("vit_tiny_patch16_224")(pictures(1, 48, 32, 3))
    model = small("vit_tiny_patch16_224", dynamic_img_size=True)
    assert run(model, pictures(1, 48, 32, 3)).shape == (1, 5)
    fixed = small("vit_tiny_patch16_224")
    np.testing.assert_allclose(run(model, pictures()), run(fixed, pictures()), atol=1e-6)


@FAMILIES
def test_bfloat16_computes_and_float32_keeps(name):
    model = small(name, dtype=jnp.bfloat16)
    half = run(model, pictures())
    assert half.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(variables_of(model))} == {jnp.dtype(jnp.float32)}
    np.testing.assert_allclose(half.astype(jnp.float32), run(small(name), pictures()), atol=0.1)


@FAMILIES
def test_pre_logits_and_head_are_the_whole(name):
    model = small(name)
    maps = model.forward_features(pictures())
    np.testing.assert_allclose(model.forward_head(maps), model(pictures()), atol=1e-6)
    assert model.forward_head(maps, pre_logits=True).shape == (3, model.num_features)


@FAMILIES
def test_names_of_attributes_are_paths(name):
    modules = named_modules(small(name))
    model = small(name)
    assert model.input_conv in modules
    assert all(path in modules for path in model.classifiers)


@FAMILIES
def test_the_same_seed_is_the_same_model(name):
    one, two, other = (variables_of(small(name, seed=seed)) for seed in (0, 0, 1))
    jax.tree.map(np.testing.assert_array_equal, one, two)
    assert any(np.any(a != b) for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True))


@FAMILIES
def test_monte_carlo_passes_are_one_vmap(name):
    apply, variables = to_functional(small(name, drop_rate=0.5))
    keys = jax.random.split(jax.random.key(0), 4)
    samples = jax.jit(jax.vmap(lambda key: apply(variables, pictures(), key=key)[0]))(keys)
    for key, sample in zip(keys, samples, strict=True):
        np.testing.assert_allclose(sample, apply(variables, pictures(), key=key)[0], atol=1e-4)
    assert samples.std(0).max() > 0


@FAMILIES
def test_remat_changes_no_gradient(name):
    def gradient(**options):
        apply, variables = to_functional(small(name, **options))

        def loss(params):
            return jnp.square(apply({**variables, "params": params}, pictures(), train=True)[0]).mean()

        return jax.jit(jax.grad(loss))(variables["params"])

    plain, remat = gradient(), gradient(remat="full")
    scale = max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(plain))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-3 * scale), plain, remat)


@FAMILIES
def test_configs_are_frozen_rows(name):
    config = small(name).config
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.num_classes = 3


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("vit_tiny_patch16_224", {"global_pool": "mean"}, "global_pool must be one of"),
        ("vit_tiny_patch16_224", {"class_token": False}, "needs class_token=True"),
        ("vit_tiny_patch16_224", {"num_heads": 5}, "not divisible by 5 heads"),
        ("vit_tiny_patch16_224", {"act": "gelo"}, "did you mean 'gelu'"),
        ("vit_tiny_patch16_224", {"img_size": 8}, "smaller than one patch"),
        ("swin_tiny_patch4_window7_224", {"num_heads": (2,)}, "one entry per stage"),
        ("efficientnet_b0", {"padding": "same"}, "'symmetric' or 'SAME'"),
        ("resnet18", {"cardinality": 32}, "for bottleneck blocks"),
        ("resnet18", {"output_stride": 4}, "8, 16 or 32"),
    ],
)
def test_impossible_configs_are_refused(name, options, message):
    with pytest.raises(ValueError, match=message):
        jaxvision.create_model(name, **{**SMALL[name], **options})


def test_a_sharded_batch_has_global_statistics():
    """Eight fake devices, one step: the statistics are the whole batch's (in another process, for its XLA flag)."""
    code = """
import jax, numpy as np, jaxvision
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P
mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
model = jaxvision.create_model("resnet18", num_classes=3, channels=(8, 8, 8, 8))
apply, variables = jaxvision.to_functional(model)
x = jax.random.normal(jax.random.key(0), (16, 32, 32, 3))
step = jax.jit(lambda v, x: apply(v, x, train=True))
whole = step(variables, x)
sharded = step(jax.device_put(variables, NamedSharding(mesh, P())), jax.device_put(x, NamedSharding(mesh, P("data"))))
assert len(sharded[0].sharding.device_set) == 8
jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4, rtol=1e-3), whole, sharded)
"""
    flags = "--xla_force_host_platform_device_count=8"
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "XLA_FLAGS": flags})


def test_shift_mask_by_its_meaning():
    """After the shift two tokens of a window may attend iff they were neighbours before it, without wrapping around."""
    size, window, shift = (8, 12), (4, 4), (2, 2)
    mask = shift_mask(size, window, shift)
    rows, columns = np.meshgrid(np.arange(8), np.arange(12), indexing="ij")
    original = np.stack([np.roll(rows, (-2, -2), (0, 1)), np.roll(columns, (-2, -2), (0, 1))], -1)[None]
    windows = np.asarray(partition(jnp.asarray(original), window))[0]
    distance = np.abs(windows[:, :, None] - windows[:, None, :])
    together = np.all(distance < np.asarray(window), axis=-1)
    np.testing.assert_array_equal(mask == 0, together)


def test_even_sizes_pad_as_torch_does():
    """SAME would pad (0, 1) for 3x3 and (2, 3) for 7x7 on even sizes and shift everything by a pixel."""
    conv = small("resnet18").conv1
    assert conv(pictures(1, 224, 224, 3)).shape == (1, 112, 112, 64)
    x = jnp.zeros((1, 8, 8, 3)).at[0, 0, 0].set(1.0)
    kernel = conv.kernel[...]
    np.testing.assert_allclose(conv(x)[0, 0, 0], kernel[3, 3].sum(0), atol=1e-5)  # centred: padding 3, not 2


def test_importing_is_light():
    """Nothing but the package itself; a name, once used, brings JAX, but nothing that is for other purposes."""
    code = "import sys, jaxvision; print([name for name in ('jax', 'flax', 'numpy') if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert found.strip() == "[]"
    heavy = (
        "tensorflow",
        "tensorflow_datasets",
        "orbax",
        "matplotlib",
        "sklearn",
        "skimage",
        "torch",
        "grain",
    )
    code = f"import sys; from jaxvision import *; print([name for name in {heavy} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert found.strip() == "[]"


def test_every_public_name_is_there():
    assert set(jaxvision.__all__) <= set(dir(jaxvision))
    for name in jaxvision.__all__:
        assert getattr(jaxvision, name) is getattr(jaxvision, name)
    assert callable(jaxvision.intercept)
    with pytest.raises(AttributeError, match="module 'jaxvision' has no attribute 'creat_model'"):
        jaxvision.creat_model  # noqa: B018
