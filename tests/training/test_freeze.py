"""Frozen parts: constants that run as in evaluation and cost no backward pass."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxvision
from jaxvision.functional import to_functional
from jaxvision.models.efficientnet import Stage
from jaxvision.paths import PatternError, flatten, named_modules, nest
from jaxvision.training.freeze import frozen_view, split_params
from jaxvision.training.losses import make_task
from jaxvision.training.optim import make_optimizer
from jaxvision.training.state import TrainState
from jaxvision.training.step import make_train_step

TASK = make_task("multiclass", 4)
MODELS = {
    "vit_tiny_patch16_224": {
        "img_size": 16,
        "patch_size": 8,
        "embed_dim": 16,
        "depth": 2,
        "num_heads": 2,
        "drop_path_rate": 0.5,
        "proj_drop_rate": 0.3,
        "attn_drop_rate": 0.3,
        "pos_drop_rate": 0.3,
        "drop_rate": 0.5,
    },
    "resnet18": {"layers": (1, 1), "channels": (8, 16), "stem_width": 8, "drop_path_rate": 0.5, "drop_rate": 0.5},
    "efficientnet_b0": {
        "width": 0.25,
        "head_size": 32,
        "stages": (Stage("mbconv", 2, 3, 2, 2, 48, 0.25),),
        "drop_path_rate": 0.5,
        "drop_rate": 0.5,
    },
}


def build(name, **options):
    return jaxvision.create_model(name, num_classes=4, **{**MODELS[name], **options})


def batch():
    rng = np.random.default_rng(0)
    return {
        "image": rng.normal(size=(8, 16, 16, 3)).astype(np.float32),
        "label": np.arange(8, dtype=np.int32) % 4,
        "weight": np.ones(8, np.float32),
    }


def prepare(batch, key):
    return batch["image"], TASK.targets(batch["label"])


def training(model, **patterns):
    _, variables = to_functional(model)
    trained, frozen = split_params(variables["params"], **patterns)
    apply, _ = to_functional(frozen_view(model, flatten(frozen)))
    optimizer = make_optimizer("momentum", trained, lambda step: 0.1, weight_decay=0.1)
    state = TrainState.create(trained, frozen, variables["batch_stats"], optimizer, jax.random.key(0))
    return jax.jit(make_train_step(apply, TASK, optimizer, prepare)), state


def same(first, second):
    first, second = flatten(first), flatten(second)
    assert first.keys() == second.keys()
    return {name: bool(np.array_equal(first[name], second[name])) for name in first}


@pytest.mark.parametrize("name", MODELS)
def test_a_frozen_backbone_runs_in_evaluation_mode_and_stays_to_the_bit(name):
    model = build(name)
    step, before = training(model, train_only=model.classifiers)
    state, first = step(before, batch())
    state, second = step(state, batch())
    assert float(first["loss"]) != float(second["loss"])
    assert all(same(before.frozen, state.frozen).values())
    assert all(same(before.batch_stats, state.batch_stats).values())
    assert not any(same(before.params, state.params).values())
    apply, _ = to_functional(frozen_view(model, flatten(before.frozen)), method="forward_features")
    plain, _ = to_functional(model, method="forward_features")
    images, key = jnp.asarray(batch()["image"]), jax.random.key(1)
    features, _ = jax.jit(lambda v: apply(v, images, train=True, key=key))(before.variables())
    expected, _ = jax.jit(lambda v: plain(v, images))(before.variables())
    np.testing.assert_allclose(features, expected, atol=1e-6)


def test_only_the_heads_dropout_stays_on():
    for name in MODELS:
        model = build(name)
        _, variables = to_functional(model)
        _, frozen = split_params(variables["params"], train_only=model.classifiers)
        view = frozen_view(model, flatten(frozen))
        rates = {path: m.rate for path, m in named_modules(view).items() if hasattr(m, "rate")}
        assert rates.pop("head_drop") == 0.5
        assert rates
        assert set(rates.values()) == {0.0}
        assert model.head_drop.rate == 0.5
        assert max(m.rate for path, m in named_modules(model).items() if path in rates and hasattr(m, "rate")) > 0


def test_the_heads_dropout_still_drops():
    model = build("resnet18")
    frozen = [name for name in flatten(to_functional(model)[1]["params"]) if not name.startswith("fc.")]
    apply, variables = to_functional(frozen_view(model, frozen))
    images = jnp.asarray(batch()["image"])
    logits = [jax.jit(lambda k: apply(variables, images, train=True, key=k)[0])(jax.random.key(i)) for i in range(2)]
    assert not np.allclose(*logits)


def test_part_of_a_network_frozen():
    model = build("resnet18")
    step, before = training(model, freeze=["conv1", "bn1", "layer1"])
    state, _ = step(before, batch())
    stats = same(before.batch_stats, state.batch_stats)
    still = {name for name, unchanged in stats.items() if unchanged}
    assert still == {name for name in stats if name.startswith(("bn1", "layer1"))}
    assert all(same(before.frozen, state.frozen).values())
    rates = {p: m.rate for p, m in named_modules(frozen_view(model, flatten(before.frozen))).items() if "drop" in p}
    assert rates["layer2.0.drop_path"] > 0


def test_nothing_is_differentiated_through_a_frozen_backbone():
    """Three times the forward pass is a full step; with a frozen backbone it is little more than the forward pass."""

    quiet = {name: 0.0 for name in MODELS["vit_tiny_patch16_224"] if name.endswith("rate")}  # masks cost compile time

    def flops(**patterns):
        step, state = training(build("vit_tiny_patch16_224", **quiet), **patterns)
        return step.lower(state, batch()).compile().cost_analysis()["flops"]

    assert flops(train_only="head") < 0.45 * flops()


def test_a_dropout_goes_with_its_block_and_only_if_all_of_that_is_frozen():
    model = build("vit_tiny_patch16_224")
    names = [name for name in flatten(to_functional(model)[1]["params"]) if name.startswith("blocks.0.")]

    def rate(frozen, path):
        return named_modules(frozen_view(model, frozen))[path].rate

    assert rate(names, "blocks.0.drop_path2") == 0
    assert rate(names, "blocks.1.drop_path2") == 0.5
    attention = [name for name in names if ".attn." in name]
    assert rate(attention, "blocks.0.attn.attn_drop") == 0
    assert rate(attention, "blocks.0.mlp.drop1") == 0.3
    assert rate(names[1:], "blocks.0.drop_path1") == model.blocks[0].drop_path1.rate
    assert rate(["pos_embed"], "pos_drop") == 0


class Foreign(nnx.Module):
    """A network of Flax's own layers."""

    def __init__(self, rngs):
        self.fc = nnx.Linear(3, 4, rngs=rngs)
        self.bn = nnx.BatchNorm(4, rngs=rngs)
        self.drop = nnx.Dropout(0.5)
        self.head = nnx.Linear(4, 2, rngs=rngs)

    def __call__(self, x, train=False, rngs=None):
        x = self.bn(self.fc(x), use_running_average=not train)
        return self.head(x)


def test_flaxs_own_layers():
    model = Foreign(nnx.Rngs(0))
    view = frozen_view(model, ["fc.kernel", "fc.bias", "bn.scale", "bn.bias"])
    apply, variables = to_functional(view)
    x = jnp.arange(12.0).reshape(4, 3)
    logits, stats = apply(variables, x, train=True)
    jax.tree.map(np.testing.assert_array_equal, stats, variables["batch_stats"])
    np.testing.assert_allclose(logits, model(x), rtol=1e-6)
    everything = frozen_view(model, [f"{m}.{p}" for m in ("fc", "head") for p in ("kernel", "bias")] + ["bn.scale"])
    _, stats = to_functional(everything)[0](variables, x, train=True)
    assert not np.array_equal(stats["bn"]["mean"], variables["batch_stats"]["bn"]["mean"])  # its bias is trained


def test_splitting():
    params = nest(dict.fromkeys(("layer1.0.kernel", "layer1.0.bias", "layer2.0.kernel", "fc.kernel", "fc.bias"), 1))

    def trained(**patterns):
        first, second = split_params(params, **patterns)
        assert flatten(first).keys() | flatten(second).keys() == flatten(params).keys()
        assert not flatten(first).keys() & flatten(second).keys()
        return set(flatten(first))

    assert trained(freeze="layer1") == trained(freeze="layer1.**") == {"layer2.0.kernel", "fc.kernel", "fc.bias"}
    assert trained(train_only=["fc"]) == {"fc.kernel", "fc.bias"}
    assert trained(train_only=["fc", "layer2"], freeze="**.bias") == {"fc.kernel", "layer2.0.kernel"}
    assert trained() == set(flatten(params))
    with pytest.raises(PatternError, match=r"no parameter matches 'layer3'.*'layer[12]'"):
        split_params(params, freeze=["layer3"])
    with pytest.raises(PatternError, match="every parameter is frozen"):
        split_params(params, freeze="**")
    with pytest.raises(ValueError, match=r"not parameters of the model: fc\.kernel"):
        frozen_view(build("vit_tiny_patch16_224"), ["fc.kernel"])
