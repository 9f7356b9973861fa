"""Two real processes on loopback train as one does."""

import json
import socket

import jax
import numpy as np
import pytest

from jaxvision.training import distributed
from jaxvision.training.distributed import (
    DistributedError,
    agree_any,
    barrier,
    gather_rows,
    initialize,
    is_main_process,
)
from tests.training import parallel_worker

COUNT = 2


def free_port():
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def facts(parallel_runs):
    return [json.loads((parallel_runs / f"process{index}.json").read_text()) for index in range(COUNT)]


def test_two_processes_with_half_the_batch_each_compute_what_one_does(parallel_runs):
    expected = np.load(parallel_runs / "one.resnet.npz")
    parts = [np.load(parallel_runs / f"process{index}.npz") for index in range(COUNT)]
    names = [name for name in expected if name.startswith(("step", "last.params.", "eval."))]
    for part in parts:
        assert set(part) == set(names)
        for name in names:
            scale = max(np.abs(expected[name]).max(), 1e-6)
            np.testing.assert_allclose(part[name], expected[name], rtol=0, atol=1e-5 * scale, err_msg=name)
    for name in names:
        np.testing.assert_array_equal(parts[0][name], parts[1][name])


def test_processes_agree(facts):
    assert [fact["processes"] for fact in facts] == [2, 2]
    assert [fact["devices"] for fact in facts] == [4, 4]
    assert [fact["main"] for fact in facts] == [True, False]
    assert [fact["gathered"] for fact in facts] == [[0, 10, 11]] * 2
    assert [fact["any of one"] for fact in facts] == [True, True]
    assert [fact["any of none"] for fact in facts] == [False, False]
    assert [fact["traces"] for fact in facts] == [1, 1]


def test_a_checkpoint_of_two_processes_is_one_checkpoint(parallel_runs, facts):
    assert all(fact["restored equal"] for fact in facts)
    assert [path.name for path in (parallel_runs / "processes").iterdir()] == [str(parallel_worker.STEPS)]


def test_one_process_agrees_with_itself():
    barrier("alone")
    assert is_main_process()
    assert agree_any(True)
    assert not agree_any(False)
    np.testing.assert_array_equal(gather_rows(np.arange(6).reshape(3, 2)), np.arange(6).reshape(3, 2))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("localhost:1", 2, None), "process_id not given: give all of coordinator, num_processes, process_id"),
        ((None, 2, None), "coordinator and process_id not given"),
        (("localhost:1", 2, 2), "process_id is 2, expected 0 to 1"),
    ],
)
def test_incomplete_or_impossible_processes_are_refused(arguments, message):
    with pytest.raises(DistributedError, match=message):
        initialize(*arguments)


def test_too_late_is_said_so():
    jax.devices()
    with pytest.raises(DistributedError, match="before anything asks JAX for a device"):
        distributed.initialize(f"localhost:{free_port()}", 1, 0)


def test_no_cluster_is_said_so(monkeypatch):
    def fail(*_):
        raise ValueError("coordinator_address should be defined.")

    monkeypatch.setattr(jax.distributed, "initialize", fail)
    with pytest.raises(DistributedError, match=r"no cluster was recognised .*give the coordinator"):
        distributed.initialize()
