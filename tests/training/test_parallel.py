"""Every driver computes what one device computes: loss, gradients, batch statistics, averages, outputs.

What needs 8 devices runs in a sub-process (`parallel_worker`), whose results are compared here.
"""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax.sharding import AxisType, PartitionSpec

from jaxvision import create_model
from jaxvision.nn.norm import BatchNorm, set_axis_name
from jaxvision.paths import PatternError, named_modules
from jaxvision.training.leaves import named_leaves
from jaxvision.training.optim import Optimizer
from jaxvision.training.parallel import make_driver
from jaxvision.training.parallel.placement import fsdp_spec, state_shardings
from jaxvision.training.state import TrainState

MESH = jax.sharding.AbstractMesh((2, 4), ("data", "fsdp"), axis_types=(AxisType.Auto,) * 2)


@pytest.fixture(scope="module")
def facts(parallel_runs):
    return json.loads((parallel_runs / "devices.json").read_text())


def assert_close(got, expected, tolerance=1e-5):
    """Equal by name, relative to the largest value of each array."""
    assert set(got) == set(expected)
    for name, value in expected.items():
        scale = max(np.abs(np.asarray(value, np.float64)).max(initial=0), 1e-6)
        np.testing.assert_allclose(got[name], value, rtol=0, atol=tolerance * scale, err_msg=name)


@pytest.mark.parametrize("case", ["resnet", "vit"])
@pytest.mark.parametrize("driver", ["jit", "fsdp", "pmap", "shard_map"])
def test_drivers_compute_what_one_device_computes(parallel_runs, driver, case):
    expected = np.load(parallel_runs / f"one.{case}.npz")
    # The first momentum is the gradient itself.
    names = ("step0.loss", "first.opt_state.trace.", "first.params.", "first.ema.", "last.params.", "eval.logits")
    names += ("first.batch_stats.", "last.batch_stats.") if case == "resnet" else ()
    for name in names:
        assert any(key.startswith(name) for key in expected), name
    assert_close(np.load(parallel_runs / f"{driver}.{case}.npz"), expected)
    moved = expected["last.params." + ("fc" if case == "resnet" else "head") + ".kernel"]
    assert np.abs(moved - expected["first.params." + ("fc" if case == "resnet" else "head") + ".kernel"]).max() > 1e-4


@pytest.mark.parametrize("case", ["resnet", "vit"])
@pytest.mark.parametrize("driver", ["one", "jit", "fsdp", "pmap", "shard_map"])
def test_the_step_compiles_once_and_takes_its_states_memory_but_not_the_callers(facts, driver, case):
    fact = facts[f"{driver}.{case}"]
    assert fact["traces"] == 1
    assert fact["compilations after the first step"] == 0
    assert fact["donated"]
    assert fact["given state is alive"]


def test_fsdp_shards_parameters_with_their_moments_and_averages(facts):
    sharded = set(facts["fsdp.resnet"]["sharded"])
    kernel = "layer2.0.conv1.kernel"
    assert {f"params.{kernel}", f"opt_state.trace.{kernel}", f"ema.params.{kernel}"} <= sharded
    assert not any("batch_stats" in name or name in ("step", "key") for name in sharded)
    assert facts["jit.resnet"]["sharded"] == []


def test_a_checkpoint_of_8_devices_restores_on_4(parallel_runs, facts):
    restore = facts["restore"]
    assert restore["8 equal"]
    assert restore["4 equal"]
    assert restore["devices"] == 4
    assert restore["4 sharded over"] == [1, 2]
    assert_close(np.load(parallel_runs / "on4.npz"), np.load(parallel_runs / "on8.npz"))


def test_a_restored_state_goes_on_to_the_bit_without_compiling(facts):
    assert facts["restore"]["goes on identically"]
    assert facts["restore"]["compilations after restoring"] == 0
    assert facts["pmap restore"] == {"equal": True, "compilations": 0}


def test_a_batch_that_does_not_divide_names_the_nearest_that_do(facts):
    assert facts["uneven batch"] == ("a microbatch of 12 examples cannot be split over 8 devices: make it 8 or 16")


def test_ragged_batches_are_refused():
    with pytest.raises(ValueError, match=r"different numbers of examples: \{'image': 4, 'label': 3\}"):
        make_driver().place_batch({"image": np.zeros((4, 2)), "label": np.zeros(3)})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "shardmap"}, "no driver 'shardmap'; did you mean 'shard_map'"),
        ({"fsdp": 3}, "fsdp is 3, which does not divide the number of devices, 1"),
        ({"fsdp": 0}, "fsdp is 0"),
        ({"name": "pmap", "rules": {"**": PartitionSpec()}}, "pmap replicates parameters"),
    ],
)
def test_impossible_drivers_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        make_driver(**options, devices=jax.devices()[:1])


def test_pmap_is_refused_on_several_processes(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(ValueError, match="pmap is for one process, and there are 2: use 'jit' or 'shard_map'"):
        make_driver("pmap", devices=jax.devices()[:1])


@pytest.fixture(scope="module")
def state():
    params = {
        "blocks": {str(i): {"fc1": {"kernel": jnp.zeros((256, 1024)), "bias": jnp.zeros(1024)}} for i in range(2)},
        "odd": {"kernel": jnp.zeros((301, 303))},
    }
    return jax.eval_shape(
        lambda: TrainState.create(
            params,
            {"stem": {"kernel": jnp.zeros((512, 256))}},
            {"norm": {"mean": jnp.zeros(256)}},
            Optimizer(optax.scale_by_adam(), optax.constant_schedule(1.0)),
            jax.random.key(0),
            ema=True,
        )
    )


def specs(state, rules=None):
    return {name: sharding.spec for name, sharding in named_leaves(state_shardings(state, MESH, rules)).items()}


def test_the_default_rule_shards_the_largest_divisible_axis_of_large_arrays(state):
    assert fsdp_spec((256, 1024), 4) == PartitionSpec(None, "fsdp")
    assert fsdp_spec((512, 512), 4) == PartitionSpec("fsdp")
    assert fsdp_spec((256, 1023), 4) == PartitionSpec("fsdp")
    assert fsdp_spec((64, 64), 4) == fsdp_spec((301, 303), 4) == fsdp_spec((256, 1024), 1) == PartitionSpec()
    found = specs(state)
    sharded = {name for name, spec in found.items() if spec != PartitionSpec()}
    kernels = [f"blocks.{i}.fc1.kernel" for i in range(2)]
    mirrors = ("params.", "opt_state.mu.", "opt_state.nu.", "ema.params.")
    assert sharded == {mirror + kernel for mirror in mirrors for kernel in kernels} | {"frozen.stem.kernel"}


def test_rules_come_first_in_their_order_and_moments_follow(state):
    rules = {"blocks.1.**.kernel": PartitionSpec(), "blocks.**.kernel": PartitionSpec(("data", "fsdp"))}
    found = specs(state, rules)
    for prefix in ("params.", "opt_state.mu.", "ema.params."):
        assert found[prefix + "blocks.0.fc1.kernel"] == PartitionSpec(("data", "fsdp"))
        assert found[prefix + "blocks.1.fc1.kernel"] == PartitionSpec()
    assert found["frozen.stem.kernel"] == PartitionSpec("fsdp")


@pytest.mark.parametrize(
    ("pattern", "spec", "error", "message"),
    [
        ("block.*.fc1.kernel", PartitionSpec("fsdp"), PatternError, "no parameter matches 'block.*.fc1.kernel'; did"),
        ("**.bias", PartitionSpec("model"), ValueError, "names the axis 'model'; the mesh has data, fsdp"),
        ("**.bias", PartitionSpec(None, "fsdp"), ValueError, "has 2 axes, but blocks.0.fc1.bias has the shape (1024,)"),
        ("odd.kernel", PartitionSpec("fsdp"), ValueError, "splits odd.kernel of shape (301, 303) into 4"),
    ],
)
def test_rules_that_do_not_fit_are_refused(state, pattern, spec, error, message):
    with pytest.raises(error) as caught:
        specs(state, {pattern: spec})
    assert message in str(caught.value)


def test_set_axis_name_leaves_the_given_model_alone():
    model = create_model("resnet18", layers=(1,), channels=(8,), num_classes=2)
    mapped = set_axis_name(model, "data")
    norms = [module for module in named_modules(mapped).values() if isinstance(module, BatchNorm)]
    assert len(norms) > 2
    assert all(norm.axis_name == "data" for norm in norms)
    assert all(module.axis_name is None for module in named_modules(model).values() if isinstance(module, BatchNorm))
    assert mapped.bn1.scale is model.bn1.scale
    assert set_axis_name(nnx.BatchNorm(3, rngs=nnx.Rngs(0)), "data").axis_name == "data"
