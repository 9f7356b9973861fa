"""Checkpoints are whole or not there, whatever happens to the process, the disk or the files."""

import gc
import logging
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxvision.training.checkpoint import Checkpointer, CheckpointError, CheckpointMismatchError, read_arrays
from jaxvision.training.leaves import is_key, named_leaves
from jaxvision.training.optim import Optimizer
from jaxvision.training.state import TrainState
from tests.training import parallel_worker

# After a failed save or read: tensorstore's last words to an event loop that is gone.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


class Counters(NamedTuple):
    seen: jax.Array
    nothing: None


def make_state(step=0, width=64):
    """Noise that does not compress, so that files are as large as arrays."""
    noise = np.random.default_rng(step).normal(size=(width, 1024))
    return {
        "params": {"head": {"kernel": jnp.asarray(noise, jnp.float32), "bias": jnp.zeros(3, jnp.bfloat16)}},
        "opt": (Counters(jnp.int32(step), None), optax.EmptyState()),
        "key": jax.random.key(step),
    }


def assert_same(got, expected):
    assert jax.tree.structure(got) == jax.tree.structure(expected)
    for (name, a), b in zip(named_leaves(got).items(), jax.tree.leaves(expected), strict=True):
        assert a.dtype == b.dtype, name
        a, b = (jax.random.key_data(x) if is_key(x) else x for x in (a, b))
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b), err_msg=name)


def abstract(state):
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), state)


def save_steps(directory, *steps):
    with Checkpointer(directory, keep_last=9) as checkpointer:
        for step in steps:
            checkpointer.save(step, make_state(step), {"step": step})


def largest_file(directory):
    return max((path for path in directory.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)


@contextmanager
def full_disk():
    """The system refuses to write files larger than 50 kB."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_train_state_survives_to_the_bit(tmp_path):
    params = {"blocks": {"0": {"kernel": jax.random.normal(jax.random.key(0), (4, 5))}}}
    optimizer = Optimizer(optax.chain(optax.clip(1.0), optax.scale_by_adam()), optax.constant_schedule(1.0))
    for ema in (True, False):
        state = TrainState.create(
            params, {"stem": jnp.ones(3, jnp.bfloat16)}, {"mean": jnp.zeros(4)}, optimizer, jax.random.key(5), ema
        )
        with Checkpointer(tmp_path / str(ema)) as checkpointer:
            checkpointer.save(7, state, {"epoch": 1, "loader": {"order": [3, 1, 2]}}, wait=True)
            restored, host, step = checkpointer.restore(abstract(state))
        assert_same(restored, state)
        assert (host, step) == ({"epoch": 1, "loader": {"order": [3, 1, 2]}}, 7)


@pytest.mark.parametrize("kind", ["threefry2x32", "rbg"])
def test_keys_keep_their_kind_and_another_kind_is_refused(tmp_path, kind):
    state = {"key": jax.random.key(3, impl=kind)}
    with Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(0, state, {}, wait=True)
        assert_same(checkpointer.restore(abstract(state))[0], state)
        with pytest.raises(CheckpointMismatchError, match="key"):
            checkpointer.restore({"key": jax.random.key(0, impl="unsafe_rbg" if kind == "rbg" else "rbg")})


def test_a_background_save_writes_the_values_at_its_call(tmp_path):
    step = jax.jit(lambda state: jax.tree.map(lambda x: x + 1, state), donate_argnums=0)
    state = step([jnp.asarray(np.random.default_rng(i).normal(size=500_000), jnp.float32) for i in range(8)])
    with Checkpointer(tmp_path, keep_last=9) as checkpointer:
        expected = {}
        for index in range(4):
            expected[index] = [np.array(leaf, copy=True) for leaf in jax.tree.map(jnp.copy, state)]
            checkpointer.save(index, state, {})
            for _ in range(5):
                state = step(state)
            jax.block_until_ready(state)
        checkpointer.wait()
        for index, values in expected.items():
            restored, _, _ = checkpointer.restore(abstract(state), index)
            assert all(map(np.array_equal, restored, values))


def test_the_host_may_go_on_counting(tmp_path):
    host = {"seen": [1]}
    with Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(0, make_state(), host)
        host["seen"].append(2)
        assert checkpointer.restore(make_state())[1] == {"seen": [1]}


@pytest.mark.parametrize(
    ("mode", "values", "best", "kept"),
    [
        ("min", [0.5, 0.1, float("nan"), 0.1, 0.3, 0.9], 3, [3, 4, 5]),
        ("max", [0.5, 0.9, float("nan"), 0.1, 0.3, 0.2], 1, [1, 4, 5]),
        ("max", ["other", None, "other", None, 0.3, "other"], 4, [4, 5]),
        ("max", [None] * 6, None, [4, 5]),
    ],
)
def test_the_last_and_the_best_stay(tmp_path, mode, values, best, kept):
    with Checkpointer(tmp_path, keep_last=2, keep_best=1, metric="top1", mode=mode) as checkpointer:
        for step, value in enumerate(values):
            metrics = {"other": 1.0} if value == "other" else value and {"top1": np.float32(value)}
            checkpointer.save(step, {"x": jnp.int32(step)}, {}, metrics)
        checkpointer.wait()
        assert checkpointer.steps() == kept
        assert checkpointer.best_step() == best
    with Checkpointer(tmp_path, keep_last=1, keep_best=1, metric="top1", mode=mode) as later:
        later.save(6, {"x": jnp.int32(6)}, {}, wait=True)
        assert later.steps() == ([6] if best is None else [best, 6])


def test_a_step_saved_again_is_replaced(tmp_path):
    with Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(4, make_state(1), {"pass": 1})
        checkpointer.save(4, make_state(2), {"pass": 2}, {"loss": 0.5})
        assert checkpointer.restore(make_state())[1:] == ({"pass": 2}, 4)
        assert checkpointer.best_step() == 4
    with Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(4, make_state(3), {"pass": 3}, wait=True)
        assert checkpointer.restore(make_state())[1:] == ({"pass": 3}, 4)
    assert [path.name for path in tmp_path.iterdir()] == ["4"]


def test_a_replacement_that_was_never_finished_leaves_the_old_one(tmp_path):
    save_steps(tmp_path, 3, 4)
    (tmp_path / "4").rename(tmp_path / "4.replaced")
    (tmp_path / "4.orbax-checkpoint-tmp").mkdir()
    with Checkpointer(tmp_path, keep_last=9) as checkpointer:
        assert checkpointer.steps() == [3, 4]
        assert checkpointer.restore(make_state())[1:] == ({"step": 4}, 4)
        assert (tmp_path / "4.orbax-checkpoint-tmp").exists()  # opening and reading change nothing
        checkpointer.save(5, make_state(5), {}, wait=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["3", "4", "5"]


def truncate(directory):
    path = largest_file(directory)
    path.write_bytes(path.read_bytes()[:1000])


def overwrite(directory):
    path = largest_file(directory)
    path.write_bytes(np.random.default_rng(0).bytes(path.stat().st_size))


def empty(directory):
    for path in directory.rglob("*"):
        if path.is_file():
            path.write_bytes(b"")


def hollow(directory):
    shutil.rmtree(directory)
    directory.mkdir()


def test_unreadable_checkpoints_fall_back_to_the_last_good_one(tmp_path, caplog):
    damages = (truncate, overwrite, empty, hollow, lambda path: shutil.rmtree(path / "host"))
    save_steps(tmp_path, *range(len(damages) + 1))
    for step, damage in enumerate(damages, 1):
        damage(tmp_path / str(step))
    caplog.clear()
    with Checkpointer(tmp_path, keep_last=2) as checkpointer:
        restored, host, step = checkpointer.restore(abstract(make_state()))
        assert (host, step) == ({"step": 0}, 0)
        assert_same(restored, make_state(0))
        warnings = [record.getMessage() for record in caplog.records]
        assert len(warnings) == len(damages)
        for number, warning in zip(range(len(damages), 0, -1), warnings, strict=True):
            assert warning.startswith(f"checkpoint {tmp_path / str(number)} cannot be read (")
            assert len(warning) < len(str(tmp_path)) + 300
        with pytest.raises(CheckpointError, match=f"no checkpoint can be read:\n  {tmp_path}/3: "):
            checkpointer.restore(make_state(), step=3)
        checkpointer.save(2, make_state(2), {}, wait=True)  # the damaged ones do not count any more
        assert checkpointer.steps() == [0, 2]
        assert (tmp_path / "5.unreadable").is_dir()
        assert checkpointer.restore(make_state())[2] == 2


def test_damage_is_told_in_lines_not_pages(tmp_path, capfd, monkeypatch):
    unraisable = []
    monkeypatch.setattr(sys, "unraisablehook", unraisable.append)
    save_steps(tmp_path, 1, 2)
    truncate(tmp_path / "2")
    assert Checkpointer(tmp_path).restore(make_state())[2] == 1
    with pytest.raises(CheckpointError):
        read_arrays(tmp_path)
    gc.collect()
    assert unraisable == []
    assert capfd.readouterr().err == ""


def test_if_none_is_readable_all_are_listed(tmp_path):
    save_steps(tmp_path, 1, 2)
    for step in (1, 2):
        truncate(tmp_path / str(step))
    with pytest.raises(CheckpointError) as caught:
        Checkpointer(tmp_path).restore(make_state())
    assert f"{tmp_path / '1'}: " in str(caught.value)
    assert f"{tmp_path / '2'}: " in str(caught.value)


def test_no_checkpoint_is_said_so(tmp_path):
    checkpointer = Checkpointer(tmp_path / "new")
    assert checkpointer.steps() == []
    assert checkpointer.best_step() is None
    with pytest.raises(CheckpointError, match=f"no checkpoint in {tmp_path}/new"):
        checkpointer.restore({})
    assert not (tmp_path / "new").exists()
    save_steps(tmp_path, 1, 3)
    with pytest.raises(CheckpointError, match=r"no checkpoint of step 2 in .*, only of \[1, 3\]"):
        Checkpointer(tmp_path).restore(make_state(), step=2)


def test_a_checkpoint_of_another_state_is_refused_by_name(tmp_path):
    save_steps(tmp_path, 1)
    other = make_state(width=32)
    other["params"]["head"]["biases"] = other["params"]["head"].pop("bias")
    other["opt"] = (Counters(jnp.float32(0), None), optax.EmptyState())
    with pytest.raises(CheckpointMismatchError) as caught:
        Checkpointer(tmp_path).restore(other)
    message = str(caught.value)
    assert f"{tmp_path / '1'} is a checkpoint of another model" in message
    assert "missing params.head.biases; did you mean 'params.head.bias'?" in message
    assert "unknown params.head.bias;" in message
    assert "params.head.kernel is float32[64, 1024], expected float32[32, 1024]" in message
    assert "opt.0.seen is int32[], expected float32[]" in message


@pytest.mark.parametrize("asynchronous", [True, False])
def test_a_full_disk_costs_a_checkpoint_not_the_run(tmp_path, caplog, asynchronous):
    with Checkpointer(tmp_path, keep_last=1, asynchronous=asynchronous) as checkpointer:
        checkpointer.save(1, make_state(1), {"step": 1}, wait=True)
        with full_disk():
            checkpointer.save(2, make_state(2), {"step": 2})
            checkpointer.save(1, make_state(3), {"step": 3})  # replacing fails, too
            checkpointer.wait()
            assert checkpointer.failures == 2
            assert [path.name for path in tmp_path.iterdir()] == ["1"]
            with pytest.raises(CheckpointError, match=f"{tmp_path}/4 was not written: File too large"):
                checkpointer.save(4, make_state(4), {}, wait=True)
        message = f"checkpoint {tmp_path}/2 was not written: File too large. The run goes on; checkpoints on disk: 1"
        assert message in [record.getMessage() for record in caplog.records]
        restored, host, _ = checkpointer.restore(abstract(make_state()))
        assert host == {"step": 1}
        assert_same(restored, make_state(1))
        checkpointer.save(5, make_state(5), {"step": 5})
    assert checkpointer.failures == 3
    assert [path.name for path in tmp_path.iterdir()] == ["5"]


def test_a_failed_last_save_is_raised_at_the_end(tmp_path):
    checkpointer = Checkpointer(tmp_path)
    with full_disk():
        checkpointer.save(1, make_state(1), {})
        with pytest.raises(CheckpointError, match="File too large"):
            checkpointer.close()

    def fail_twice():
        with full_disk(), Checkpointer(tmp_path) as checkpointer:
            checkpointer.save(1, make_state(1), {})
            checkpointer.save(2, make_state(2), {1, 2})

    with pytest.raises(TypeError, match="must be JSON"):  # and the first error does not hide it
        fail_twice()


def test_a_lost_directory_is_said_so(tmp_path, caplog):
    directory = tmp_path / "run"
    checkpointer = Checkpointer(directory)
    checkpointer.save(1, make_state(1), {}, wait=True)
    shutil.rmtree(directory)
    directory.write_text("in the way")
    checkpointer.save(2, make_state(2), {})
    checkpointer.wait()
    assert checkpointer.failures == 1
    assert f"checkpoint {directory}/2 was not written: NotADirectoryError" in caplog.text
    waiting = [thread.name for thread in threading.enumerate() if not thread.daemon]
    # Else the process would not end; but a pool's idle workers end with the interpreter.
    assert [name for name in waiting if not name.startswith("asyncio_")] == ["MainThread"]


MOMENTS = {"as a save begins": ("*.orbax-checkpoint-tmp*", 0), "in a save": ("*.orbax-checkpoint-tmp*", 0.03)}
MOMENTS |= {"while one is replaced": ("*.replaced", 0)}


def test_kill_9_at_any_moment_leaves_a_whole_checkpoint(tmp_path):
    worker = Path(parallel_worker.__file__)
    environment = os.environ | {"PYTHONPATH": str(worker.parents[2])}
    folders = {moment: tmp_path / moment.replace(" ", "_") for moment in MOMENTS}
    running = {
        moment: subprocess.Popen([sys.executable, str(worker), "save", str(folder)], env=environment)
        for moment, folder in folders.items()
    }
    deadline = time.monotonic() + 60
    while running:
        for moment, process in [*running.items()]:
            pattern, delay = MOMENTS[moment]
            assert process.poll() is None, f"{moment}: the worker ended by itself"
            late = time.monotonic() > deadline
            if late or ((folders[moment] / "2").exists() and any(folders[moment].glob(pattern))):
                time.sleep(delay)
                process.send_signal(signal.SIGKILL)
                process.wait()
                del running[moment]
                assert not late, f"{moment} did not come"
    for folder in folders.values():
        expected = abstract(parallel_worker.numbered_state(0))
        with Checkpointer(folder) as checkpointer:
            newest = checkpointer.steps()[-1]
            state, host, step = checkpointer.restore(expected)
            assert step == newest >= 2
            assert host == {"step": step}
            assert_same(state, parallel_worker.numbered_state(step))
            checkpointer.save(step + 1, state, {}, wait=True)
        assert all(path.name.isdecimal() for path in folder.iterdir())  # nothing is left over


def test_orbax_says_nothing_itself(tmp_path, caplog):
    with caplog.at_level(logging.DEBUG):
        save_steps(tmp_path, 1)
        Checkpointer(tmp_path).restore(make_state())
    assert [record for record in caplog.records if record.name == "absl"] == []


def test_arrays_are_read_by_name_without_the_rest(tmp_path):
    save_steps(tmp_path, 1, 2)
    arrays = read_arrays(tmp_path, "params.**")
    assert set(arrays) == {"params.head.kernel", "params.head.bias"}
    np.testing.assert_array_equal(arrays["params.head.kernel"], make_state(2)["params"]["head"]["kernel"])
    assert set(read_arrays(tmp_path, ["key", "opt.0.seen"], step=1)) == {"key", "opt.0.seen"}
    with pytest.raises(CheckpointError, match="no checkpoint of step 5"):
        read_arrays(tmp_path, step=5)
    truncate(tmp_path / "2")
    with pytest.raises(CheckpointError, match=f"{tmp_path}/2 cannot be read"):
        read_arrays(tmp_path)


def test_what_cannot_be_saved_is_refused_at_once(tmp_path):
    checkpointer = Checkpointer(tmp_path)
    with pytest.raises(TypeError, match="must be JSON: Object of type set"):
        checkpointer.save(1, make_state(), {"seen": {1}})
    with pytest.raises(ValueError, match="keep_last must be at least 1"):
        Checkpointer(tmp_path, keep_last=0)
    with pytest.raises(ValueError, match="mode must be 'min' or 'max', got 'best'"):
        Checkpointer(tmp_path, mode="best")
