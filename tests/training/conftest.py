"""What several devices and several processes compute, once for all tests.

In sub-processes, since the number of devices is that of a process for its whole life.
"""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

WORKER = Path(__file__).with_name("parallel_worker.py")


@pytest.fixture(scope="session")
def parallel_runs(tmp_path_factory):
    """The folder of the results of `parallel_worker`: 8 devices, and beside them two processes of 2 devices."""
    folder = tmp_path_factory.mktemp("parallel")
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = str(probe.getsockname()[1])
    runs = [["devices", folder], *(["process", folder, port, "2", str(index)] for index in range(2))]
    environment = os.environ | {"PYTHONPATH": str(WORKER.parents[2])}
    started, logs = [], [folder / f"{index}.log" for index in range(len(runs))]
    try:
        for run, log in zip(runs, logs, strict=True):
            with log.open("w") as file:
                command = [sys.executable, str(WORKER), *map(str, run)]
                started.append(subprocess.Popen(command, env=environment, stdout=file, stderr=file))
        codes = [process.wait(timeout=300) for process in started]
    finally:
        for process in started:
            process.kill()
            process.wait()
    assert not any(codes), "\n".join(log.read_text()[-3000:] for log in logs)
    return folder
