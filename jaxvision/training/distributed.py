"""Several processes as one run: starting them, and the few things they must agree on."""

from collections.abc import Sequence

import jax
import numpy as np
from jax.experimental import multihost_utils
from jaxtyping import Shaped


class DistributedError(RuntimeError):
    """The processes of a run cannot find each other, or were started too late."""


def initialize(
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    local_device_ids: Sequence[int] | None = None,
) -> None:
    """Joins the processes of a run; every process calls it first of all, before JAX has touched a device.

    Without arguments JAX finds the others by itself, on TPU pods and under SLURM, Open MPI or Kubernetes. Elsewhere
    all three are needed, in the same order on every process. A second call does nothing.

    Args:
        coordinator: ``host:port`` of process 0, reachable from all.
        num_processes: how many processes there are.
        process_id: which one this is, from 0.
        local_device_ids: the accelerators of this process, if several share a host.

    Raises:
        DistributedError: arguments are missing or out of range, no cluster is recognised, the coordinator does not
            answer, or JAX has already started its devices.
    """
    if jax.distributed.is_initialized():
        return
    given = {"coordinator": coordinator, "num_processes": num_processes, "process_id": process_id}
    missing = [name for name, value in given.items() if value is None]
    if missing and len(missing) < len(given):
        raise DistributedError(f"{' and '.join(missing)} not given: give all of {', '.join(given)}, or none of them")
    if num_processes is not None and process_id is not None and not 0 <= process_id < num_processes:
        raise DistributedError(f"process_id is {process_id}, expected 0 to {num_processes - 1}")
    try:
        jax.distributed.initialize(coordinator, num_processes, process_id, local_device_ids)
    except ValueError as error:
        raise DistributedError(
            f"no cluster was recognised ({error}): give the coordinator (host:port of process 0), the number of "
            "processes and this process's id"
        ) from error
    except RuntimeError as error:
        raise DistributedError(
            f"process {process_id} could not join the run at {coordinator}: {error}. Start every process, and call "
            "initialize() before anything asks JAX for a device or an array"
        ) from error


def is_main_process() -> bool:
    """Whether this is the process that writes files and talks to the user."""
    return jax.process_index() == 0


def barrier(name: str) -> None:
    """Waits until every process has come to the barrier of this name; at once if there is one process."""
    multihost_utils.sync_global_devices(name)


def agree_any(flag: bool) -> bool:
    """Whether any process says so; all processes must ask at the same point, and all get the same answer."""
    if jax.process_count() == 1:
        return flag
    return bool(np.any(multihost_utils.process_allgather(np.asarray(flag))))


def gather_rows(rows: Shaped[np.ndarray, "n ..."]) -> Shaped[np.ndarray, "total ..."]:
    """The rows of all processes, in the order of the processes, on every process; numbers of rows may differ."""
    rows = np.asarray(rows)
    if jax.process_count() == 1:
        return rows
    counts = multihost_utils.process_allgather(np.asarray(len(rows)))
    padded = np.zeros((counts.max(), *rows.shape[1:]), rows.dtype)
    padded[: len(rows)] = rows
    gathered = multihost_utils.process_allgather(padded)
    return np.concatenate([part[:count] for part, count in zip(gathered, counts, strict=True)])
