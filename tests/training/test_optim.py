"""Optimisers against PyTorch and timm, and the rules on names."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import jaxvision
from jaxvision.functional import variables_of
from jaxvision.paths import PatternError, flatten, nest
from jaxvision.training.groups import layer_groups, lr_multipliers, matching, weight_decays
from jaxvision.training.optim import OPTIMIZERS, make_optimizer
from jaxvision.training.penalties import make_penalty

REFERENCE = json.loads(Path(__file__).with_name("torch_values.json").read_text())["optimizers"]


def start():
    w, b = np.sin(np.arange(12.0)).reshape(3, 4), np.cos(np.arange(4.0))
    return {"w": w.astype(np.float32), "b": b.astype(np.float32)}


def gradient(params):
    """Of the bowl in make_torch_values.py."""
    scale = np.arange(1, 5, dtype=np.float32)
    return {"w": scale * (params["w"] - 0.3) - 3 * jnp.sin(3 * params["w"]), "b": 2 * scale * (params["b"] + 0.2)}


def ten_steps(optimizer, params):
    def update(carry, step):
        params, opt_state = carry
        updates, opt_state, _ = optimizer.update(gradient(params), opt_state, params, step, 1.0)
        return (optax.apply_updates(params, updates), opt_state), None

    @jax.jit
    def run(params):
        return jax.lax.scan(update, (params, optimizer.init(params)), jnp.arange(10))[0][0]

    return run(params)


def one_direction(optimizer, grads, params):
    """The first update at learning rate 1, without the sign."""
    update = jax.jit(lambda g, p: optimizer.update(g, optimizer.init(p), p, 0, 1.0)[0])
    return jax.tree.map(lambda u: -np.asarray(u), update(grads, params))


def constant(lr):
    return lambda step: lr


@pytest.mark.parametrize("name", REFERENCE)
def test_ten_steps_are_pytorchs_or_timms(name):
    expected = REFERENCE[name]
    params = ten_steps(make_optimizer(name, start(), constant(expected["lr"]), weight_decay=0.1), start())
    # RAdam's rectification is a difference of nearly equal numbers, which optax takes in float32.
    atol = 1e-4 if name == "radam" else 1e-5
    np.testing.assert_allclose(params["w"].ravel(), expected["w"], rtol=1e-6, atol=atol)
    np.testing.assert_allclose(params["b"], expected["b"], rtol=1e-6, atol=atol)


@pytest.mark.parametrize("name", ["nadam", "nadamw"])
def test_nadam_is_dozats(name):
    """Dozat 2016, algorithm 8 with a constant momentum, in numpy; PyTorch and timm correct the bias in other ways."""
    lr, decay, b1, b2 = 0.05, 0.1, 0.9, 0.999
    params = ten_steps(make_optimizer(name, start(), constant(lr), weight_decay=decay), start())
    w = start()["w"].astype(np.float64)
    m, v = np.zeros_like(w), np.zeros_like(w)
    for t in range(1, 11):
        g = np.arange(1, 5) * (w - 0.3) - 3 * np.sin(3 * w) + (decay * w if name == "nadam" else 0)
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        m_hat = b1 * m / (1 - b1 ** (t + 1)) + (1 - b1) * g / (1 - b1**t)
        direction = m_hat / (np.sqrt(v / (1 - b2**t)) + 1e-8)
        w = w - lr * (direction + (decay * w if name == "nadamw" else 0))
    np.testing.assert_allclose(params["w"], w, atol=1e-5)


def test_adafactor_moves_by_the_parameters_scale():
    """The first step of Shazeer and Stern 2018 is the sign times the RMS of the parameter."""
    params = {"w": np.full((3, 4), 0.5, np.float32)}
    grads = {"w": np.linspace(-2, 3, 12, dtype=np.float32).reshape(3, 4)}
    direction = one_direction(make_optimizer("adafactor", params, constant(1.0)), grads, params)
    np.testing.assert_allclose(direction["w"], 0.5 * np.sign(grads["w"]), rtol=1e-4)


def test_every_optimiser_is_compared_with_something():
    assert set(OPTIMIZERS) == {*REFERENCE, "nadam", "nadamw", "adafactor"}


def test_unknown_names_and_modes_are_refused():
    with pytest.raises(ValueError, match=r"unknown optimiser 'adamv'; did you mean .*'adam'"):
        make_optimizer("adamv", start(), constant(1.0))
    with pytest.raises(ValueError, match="unknown clip_mode"):
        make_optimizer("sgd", start(), constant(1.0), clip_grad=1.0, clip_mode="mean")
    with pytest.raises(ValueError, match="weight_decay"):
        make_optimizer("sgd", start(), constant(1.0), weight_decay=-1.0)
    with pytest.raises(PatternError, match="no parameter matches 'heads'"):
        make_optimizer("sgd", nest({"head.kernel": np.ones((2, 2))}), constant(1.0), lr_rules={"heads": 0.1})


def test_learning_rate_and_its_multipliers_are_applied_once_at_the_end():
    params = nest({"blocks.0.kernel": np.ones((2, 2), np.float32), "head.kernel": np.ones((2, 2), np.float32)})
    optimizer = make_optimizer(
        "momentum", params, lambda step: 0.1 * (step + 1), layer_decay=0.5, lr_rules={"head": 3.0}, momentum=0.0
    )
    updates, _, lr = optimizer.update(params, optimizer.init(params), params, 1, 0.25)
    np.testing.assert_allclose(lr, 0.05)
    np.testing.assert_allclose(updates["blocks"]["0"]["kernel"], np.full((2, 2), -0.05 * 0.5), rtol=1e-6)
    np.testing.assert_allclose(updates["head"]["kernel"], np.full((2, 2), -0.05 * 3), rtol=1e-6)


def test_clipping():
    params = nest({"blocks.0.kernel": np.full((2, 2), 0.1, np.float32), "head.kernel": np.ones((2, 2), np.float32)})
    grads = nest({"blocks.0.kernel": np.array([[3, 0], [4, 0.0]], np.float32), "head.kernel": np.zeros((2, 2))})

    def clipped(mode, limit):
        optimizer = make_optimizer("momentum", params, constant(1.0), clip_grad=limit, clip_mode=mode, momentum=0.0)
        return one_direction(optimizer, grads, params)["blocks"]["0"]["kernel"]

    np.testing.assert_allclose(clipped("norm", 1.0), [[0.6, 0], [0.8, 0]], rtol=1e-6)
    np.testing.assert_allclose(clipped("value", 3.5), [[3, 0], [3.5, 0]])
    # Brock et al. 2021, equation 3: each column to 0.1 of its weights' norm.
    np.testing.assert_allclose(clipped("agc", 0.1), np.array([[0.6, 0], [0.8, 0]]) * 0.1 * np.sqrt(0.02), rtol=1e-5)


def test_adaptive_clipping_leaves_the_head_alone():
    params = nest({"blocks.0.kernel": np.full((2, 2), 0.1, np.float32), "head.kernel": np.full((2, 2), 0.1)})
    grads = jax.tree.map(lambda p: np.ones((2, 2), np.float32), params)
    optimizer = make_optimizer("momentum", params, constant(1.0), clip_grad=0.01, clip_mode="agc", momentum=0.0)
    direction = one_direction(optimizer, grads, params)
    assert direction["blocks"]["0"]["kernel"].max() < 0.1
    np.testing.assert_array_equal(direction["head"]["kernel"], np.ones((2, 2)))


def names_of(name, **options):
    model = nnx.eval_shape(lambda: jaxvision.create_model(name, **options))
    return variables_of(model)["params"]


GROUPS = {
    "vit_tiny_patch16_224": (
        {"depth": 3, "reg_tokens": 1},
        {
            0: ["cls_token", "pos_embed", "reg_token", "patch_embed.proj.kernel"],
            1: ["blocks.0.attn.qkv.kernel", "blocks.0.norm1.scale"],
            3: ["blocks.2.mlp.fc2.bias", "norm.scale"],
            4: ["head.kernel"],
        },
    ),
    "swin_tiny_patch4_window7_224": (
        {"depths": (2, 2), "num_heads": (3, 6)},
        {
            0: ["patch_embed.proj.kernel", "patch_embed.norm.scale"],
            1: ["layers.0.blocks.0.attn.relative_position_bias_table"],
            2: ["layers.0.blocks.1.mlp.fc1.kernel"],
            3: ["layers.1.downsample.reduction.kernel", "layers.1.blocks.0.norm1.bias"],
            4: ["layers.1.blocks.1.attn.proj.kernel", "norm.scale"],
            5: ["head.fc.bias"],
        },
    ),
    "efficientnet_b0": (
        {},
        {
            0: ["conv_stem.kernel", "bn1.scale"],
            1: ["blocks.0.0.conv_dw.kernel"],
            2: ["blocks.1.0.se.conv_reduce.kernel"],
            3: ["blocks.1.1.bn3.bias"],
            16: ["blocks.6.0.conv_pwl.kernel", "conv_head.kernel", "bn2.bias"],
            17: ["classifier.kernel"],
        },
    ),
    "resnet18": (
        {},
        {
            0: ["conv1.kernel", "bn1.bias"],
            1: ["layer1.0.conv1.kernel"],
            2: ["layer1.1.bn2.scale"],
            3: ["layer2.0.downsample.0.kernel", "layer2.0.conv2.kernel"],
            8: ["layer4.1.conv2.kernel"],
            9: ["fc.kernel"],
        },
    ),
}


@pytest.mark.parametrize("name", GROUPS)
def test_layer_groups_are_timms(name):
    options, expected = GROUPS[name]
    groups = layer_groups(flatten(names_of(name, **options)))
    assert max(groups.values()) == max(expected)
    assert {name: groups[name] for names in expected.values() for name in names} == {
        name: depth for depth, names in expected.items() for name in names
    }
    inside = layer_groups([f"backbone.{name}" for name in groups] + ["head_mlp.0.kernel"])
    assert max(inside.values()) == max(expected)
    assert inside["head_mlp.0.kernel"] == max(expected)
    head = {name for name, depth in groups.items() if depth == max(expected)}
    assert all(inside[f"backbone.{name}"] == depth for name, depth in groups.items() if name not in head)


def test_layer_decay_is_a_power_of_the_distance_from_the_head():
    params = nest(
        dict.fromkeys(("patch_embed.kernel", "blocks.0.kernel", "blocks.1.kernel", "head.kernel"), np.ones(1))
    )
    multipliers = flatten(lr_multipliers(params, 0.5, {"blocks.1": 0.1, "blocks": 2.0}))
    assert multipliers == {
        "patch_embed.kernel": 0.125,
        "blocks.0.kernel": 0.5,
        "blocks.1.kernel": 0.05,
        "head.kernel": 1.0,
    }
    assert lr_multipliers(params) is None


def test_what_decays():
    decays = flatten(weight_decays(names_of("swin_tiny_patch4_window7_224", depths=(1, 1), num_heads=(3, 6)), 0.1))
    assert {name.split(".")[-1] for name, decay in decays.items() if decay} == {"kernel"}
    decays = flatten(weight_decays(names_of("vit_tiny_patch16_224", depth=1, reg_tokens=1), 0.1))
    assert {name for name, decay in decays.items() if decay == 0 and "bias" not in name} == {
        "cls_token", "pos_embed", "reg_token", "norm.scale", "blocks.0.norm1.scale", "blocks.0.norm2.scale"
    }  # fmt: skip
    params = nest(dict.fromkeys(("blocks.0.kernel", "blocks.0.bias", "head.kernel"), np.ones((2, 2))))
    rules = {"head": 0.0, "**.bias": 0.3, "**": 0.2}
    assert flatten(weight_decays(params, 0.1, rules)) == {
        "blocks.0.kernel": 0.2,
        "blocks.0.bias": 0.3,
        "head.kernel": 0.0,
    }


def test_patterns_select_parameters_by_name_or_by_module():
    names = ["layer1.0.conv1.kernel", "layer1.0.bn1.bias", "layer2.0.conv1.kernel", "fc.bias"]
    assert matching("layer1", names) == matching("layer1.**", names) == set(names[:2])
    assert matching("layer*.*.conv1", names) == {names[0], names[2]}
    assert matching(["**.bias"], names) == {names[1], names[3]}
    with pytest.raises(PatternError, match=r"no parameter matches 'layer3'.*'layer2'"):
        matching("layer3", names)


def test_penalty_is_of_kernels_only():
    params = nest({"fc.kernel": np.array([[1.0, -2.0]]), "fc.bias": np.array([5.0])})
    np.testing.assert_allclose(make_penalty(params, l1=0.1, l2=0.01)(params), 0.1 * 3 + 0.01 * 5, rtol=1e-6)
    np.testing.assert_allclose(make_penalty(params, l1=0.1, patterns="**.bias")(params), 0.5, rtol=1e-6)
    assert make_penalty(params) is None
