"""Runs training on several devices or in several processes, for the tests, which start it as a sub-process.

    parallel_worker.py devices FOLDER                        every driver on 8 fake devices
    parallel_worker.py process FOLDER PORT COUNT PROCESS     one of several processes, 2 fake devices each
    parallel_worker.py save FOLDER                           saves one checkpoint after the other until it is killed

Results go to FOLDER as .npz files of dotted names, facts to .json.
"""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxvision import create_model, to_functional
from jaxvision.nn.norm import set_axis_name
from jaxvision.training.checkpoint import Checkpointer
from jaxvision.training.distributed import agree_any, barrier, gather_rows, initialize, is_main_process
from jaxvision.training.leaves import is_key, named_leaves
from jaxvision.training.losses import make_task
from jaxvision.training.optim import Optimizer
from jaxvision.training.parallel import make_driver, placement
from jaxvision.training.state import TrainState
from jaxvision.training.step import make_eval_step, make_train_step

STEPS, BATCH, CLASSES = 3, 16, 4
MODELS = {
    "resnet": ("resnet18", {"layers": (1, 1), "channels": (8, 16), "stem": "deep", "stem_width": 4}),
    "vit": ("vit_tiny_patch16_224", {"img_size": 16, "patch_size": 4, "embed_dim": 16, "depth": 1, "num_heads": 2}),
}


def batch(index, accum=1):
    """The global batch of a step; every other example weighs little or nothing, unevenly over the devices."""
    rng = np.random.default_rng(index)
    arrays = {
        "image": rng.integers(0, 256, (BATCH, 16, 16, 3), np.uint8),
        "label": rng.integers(0, CLASSES, BATCH, np.int32),
        "weight": rng.choice([0, 0.25, 1], BATCH).astype(np.float32),
    }
    return arrays if accum == 1 else {k: v.reshape(accum, BATCH // accum, *v.shape[1:]) for k, v in arrays.items()}


def setup(kind, driver, accum=1):
    """A new state and the steps for a driver; the step counts how often it is traced."""
    name, options = MODELS[kind]
    model = create_model(name, num_classes=CLASSES, **options)
    if driver.axis_name is not None:
        model = set_axis_name(model, driver.axis_name)
    apply, variables = to_functional(model)
    task = make_task("multiclass", CLASSES)
    optimizer = Optimizer(optax.trace(0.9), optax.constant_schedule(0.1))

    def prepare(batch, key):
        return batch["image"].astype(jnp.float32) / 128 - 1, task.targets(batch["label"])

    pure = make_train_step(apply, task, optimizer, prepare, accum_steps=accum, ema_decay=0.9)
    traces = []

    def step(state, batch, axis_name=None):
        traces.append(axis_name)
        return pure(state, batch, axis_name)

    state = TrainState.create(variables["params"], {}, variables["batch_stats"], optimizer, jax.random.key(7), ema=True)
    return SimpleNamespace(
        driver=driver,
        state=state,
        train=driver.compile_train(step),
        evaluate=driver.compile_eval(make_eval_step(apply, task, prepare)),
        traces=traces,
        accum=accum,
    )


def words(state):
    """Everything in a state by name, in numpy, whole."""
    return {
        name: np.asarray(jax.random.key_data(leaf) if is_key(leaf) else leaf)
        for name, leaf in named_leaves(state).items()
    }


def run(kind, driver, accum=1):
    """Trains and evaluates: (what came out by name, facts)."""
    setting = setup(kind, driver, accum)
    state = driver.place_state(setting.state)
    results, compiled = {}, Compilations()
    for index in range(STEPS):
        before = state
        state, metrics = setting.train(state, driver.place_batch(batch(index, accum), accum > 1))
        results |= {f"step{index}.{name}": value for name, value in driver.to_host(metrics).items()}
        if index == 0:
            results |= {f"first.{name}": value for name, value in words(driver.canonical(state)).items()}
            compiled.reset()
    compilations = compiled.count
    results |= {f"last.{name}": value for name, value in words(driver.canonical(state)).items()}
    outputs = driver.to_host(setting.evaluate(state.variables(), driver.place_batch(batch(99))))
    results |= {f"eval.{name}": value for name, value in outputs.items()}
    facts = {
        "donated": all(leaf.is_deleted() for leaf in jax.tree.leaves((before.params, before.opt_state))),
        "traces": len(setting.traces),
        "compilations after the first step": compilations,
        "sharded": [name for name, leaf in named_leaves(state).items() if not leaf.sharding.is_fully_replicated],
        "given state is alive": not any(leaf.is_deleted() for leaf in jax.tree.leaves(setting.state)),
    }
    return results, facts, state, setting


class Compilations:
    """Counts what XLA compiles from now on."""

    def __init__(self):
        self.count = 0
        jax.monitoring.register_event_duration_secs_listener(self._listen)

    def reset(self):
        self.count = 0

    def _listen(self, event, duration, **_):
        self.count += event == "/jax/core/compile/backend_compile_duration"


def devices(folder):
    placement.MIN_SHARDED_SIZE = 64  # the models are tiny
    everything = jax.devices()
    assert len(everything) == 8
    drivers = {
        "one": make_driver("jit", devices=everything[:1]),
        "jit": make_driver("jit"),
        "fsdp": make_driver("jit", fsdp=4),
        "pmap": make_driver("pmap"),
        "shard_map": make_driver("shard_map"),
    }
    facts = {}
    for name, driver in drivers.items():
        for case, kind, accum in (("resnet", "resnet", 1), ("vit", "vit", 2)):
            results, facts[f"{name}.{case}"], state, setting = run(kind, driver, accum)
            np.savez(folder / f"{name}.{case}.npz", **results)
            if (name, case) == ("fsdp", "resnet"):
                facts["restore"] = other_devices(folder, setting, state)
            if (name, case) == ("pmap", "resnet"):
                facts["pmap restore"] = pmap_restore(folder, setting, state)
    try:
        drivers["jit"].place_batch({"image": np.zeros((2, 12, 4)), "label": np.zeros((2, 12))}, accum=True)
    except ValueError as error:
        facts["uneven batch"] = str(error)
    (folder / "devices.json").write_text(json.dumps(facts))


def other_devices(folder, setting, state):
    """Saves on 8 devices, restores on 8 and on 4 otherwise sharded ones, and goes on training."""
    saved, last = words(state), {}
    with Checkpointer(folder / "checkpoints") as checkpointer:
        checkpointer.save(STEPS, state, {"note": 1}, wait=True)
        few = make_driver("jit", fsdp=2, devices=jax.devices()[:4])
        for name, driver in (("8", setting.driver), ("4", few)):
            restored, host, step = checkpointer.restore(driver.abstract(setting.state))
            assert (host, step) == ({"note": 1}, STEPS)
            last[name] = driver.place_state(restored)
    facts = {
        f"{name} equal": all(np.array_equal(value, saved[key]) for key, value in words(restored).items())
        for name, restored in last.items()
    }
    facts["4 sharded over"] = sorted(
        {len({str(shard.index) for shard in leaf.addressable_shards}) for leaf in jax.tree.leaves(last["4"].params)}
    )
    facts["devices"] = len(jax.tree.leaves(last["4"])[0].sharding.device_set)
    given = batch(STEPS)
    compiled = Compilations()
    on, _ = setting.train(state, setting.driver.place_batch(given))
    again, _ = setting.train(last["8"], setting.driver.place_batch(given))
    facts["compilations after restoring"] = compiled.count
    facts["goes on identically"] = all(np.array_equal(value, words(on)[key]) for key, value in words(again).items())
    on_few, _ = setup("resnet", few).train(last["4"], few.place_batch(given))
    np.savez(folder / "on8.npz", **words(on))
    np.savez(folder / "on4.npz", **words(on_few))
    return facts


def pmap_restore(folder, setting, state):
    driver, saved = setting.driver, words(setting.driver.canonical(state))
    with Checkpointer(folder / "pmap") as checkpointer:
        checkpointer.save(STEPS, driver.canonical(state), {}, wait=True)
        restored, _, _ = checkpointer.restore(driver.abstract(state))
    placed = driver.place_state(restored)
    compiled = Compilations()
    setting.train(placed, driver.place_batch(batch(STEPS)))
    return {
        "equal": all(np.array_equal(value, saved[key]) for key, value in words(restored).items()),
        "compilations": compiled.count,
    }


def process(folder, port, count, index):
    initialize(f"localhost:{port}", count, index)
    initialize(f"localhost:{port}", count, index)  # does nothing
    placement.MIN_SHARDED_SIZE = 64
    driver = make_driver("jit", fsdp=2)
    setting = setup("resnet", driver)
    rows = slice(index * BATCH // count, (index + 1) * BATCH // count)

    def share(number):
        return driver.place_batch({name: array[rows] for name, array in batch(number).items()})

    state, results = driver.place_state(setting.state), {}
    for number in range(STEPS):
        state, metrics = setting.train(state, share(number))
        results |= {f"step{number}.{name}": value for name, value in driver.to_host(metrics).items()}
    outputs = setting.evaluate(state.variables(), share(99))
    results |= {f"eval.{name}": value for name, value in driver.to_host(outputs).items()}
    with Checkpointer(folder / "processes") as checkpointer:
        checkpointer.save(STEPS, state, {"step": STEPS}, {"loss": 1.0})
        checkpointer.wait()
        restored, host, step = checkpointer.restore(driver.abstract(setting.state))
        assert (host, step) == ({"step": STEPS}, STEPS)
        checkpointer.save(STEPS, restored, {"step": STEPS}, {"loss": 0.5})  # replaces it
    whole, again = (driver.to_host(tree.params) for tree in (state, restored))
    results |= {f"last.params.{name}": value for name, value in named_leaves(whole).items()}
    facts = {
        "processes": jax.process_count(),
        "devices": driver.num_devices,
        "main": is_main_process(),
        "gathered": gather_rows(np.arange(index + 1) + 10 * index).tolist(),
        "any of one": agree_any(index == 1),
        "any of none": agree_any(False),
        "restored equal": all(map(np.array_equal, jax.tree.leaves(whole), jax.tree.leaves(again))),
        "traces": len(setting.traces),
    }
    barrier("done")
    np.savez(folder / f"process{index}.npz", **results)
    (folder / f"process{index}.json").write_text(json.dumps(facts))


def numbered_state(step):
    """A state whose every leaf tells the step, and which does not compress."""
    noise = np.random.default_rng(0).normal(size=(8, 500_000)).astype(np.float32)
    return {
        "leaves": [jnp.asarray(leaf + step) for leaf in noise],
        "key": jax.random.key(step),
        "step": jnp.int32(step),
    }


def save(folder):
    """Saves each step twice, so that replacing one is interrupted, too."""
    with Checkpointer(folder, keep_last=2) as checkpointer:
        for step in range(1, 1000):
            for loss in (step, -step):
                checkpointer.save(step, numbered_state(step), {"step": step}, {"loss": loss})


if __name__ == "__main__":
    mode, folder, *numbers = sys.argv[1:]
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_disable_most_optimizations", True)  # compiles in half the time
    jax.config.update("jax_num_cpu_devices", 8 if mode == "devices" else 2)
    run_mode = {"devices": devices, "process": process, "save": save}[mode]
    run_mode(Path(folder), *map(int, numbers))
