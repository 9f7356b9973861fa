"""Contenders in processes of their own, timed in turns, with the memory that each needs."""

import ctypes
import dataclasses
import gc
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TypeAlias

from _timing import Thunk

Make: TypeAlias = Callable[[], Thunk]
"""Builds and compiles what is timed. It runs in the child and must pickle: a `functools.partial` of a function."""

# What a pool of threads may spin after its last task, before it sleeps.
_SETTLE_SECONDS = 0.05


@dataclasses.dataclass(frozen=True)
class Result:
    """What one contender took.

    Attributes:
        ms: milliseconds of each round.
        mb: peak of the process's memory in a pass over what it held before it (weights, compiled code), in MB.
    """

    ms: tuple[float, ...]
    mb: float

    @property
    def median(self) -> float:
        """Median milliseconds."""
        return statistics.median(self.ms)


def ratio(one: Result, other: Result) -> float:
    """The median over the rounds of one's time to the other's in the same round."""
    return statistics.median(a / b for a, b in zip(one.ms, other.ms, strict=True))


def alternate(contenders: Mapping[str, Make], rounds: int, at_least: float, threads: int | None) -> dict[str, Result]:
    """Times contenders in turns, each in a child process; whose turn comes first goes round.

    Args:
        contenders: name to what makes the thunk.
        rounds: turns of each.
        at_least: seconds of a turn; a fast contender repeats within it.
        threads: cores that every child may use; None for all.
    """
    context = multiprocessing.get_context("spawn")
    children: dict[str, tuple[Connection, multiprocessing.process.BaseProcess]] = {}
    try:
        for name, make in contenders.items():
            ours, theirs = context.Pipe()
            process = context.Process(target=_child, args=(make, theirs, at_least, threads), daemon=True)
            process.start()
            theirs.close()
            children[name] = ours, process
            ours.recv()  # one compiles at a time
        names, times = list(contenders), {name: list[float]() for name in contenders}
        for turn in range(rounds):
            first = turn % len(names)
            for name in names[first:] + names[:first]:
                children[name][0].send("run")
                times[name].append(children[name][0].recv())
        results = {}
        for name, (connection, _) in children.items():
            connection.send("stop")
            results[name] = Result(tuple(times[name]), connection.recv())
        return results
    finally:
        for connection, child in children.values():
            connection.close()
            child.join(10)
            if child.is_alive():
                child.kill()


def _child(make: Make, parent: Connection, at_least: float, threads: int | None) -> None:
    if threads is not None:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    run = make()
    run()
    mb = _peak_mb(run)
    start = time.perf_counter()
    run()
    repeats = max(1, round(at_least / (time.perf_counter() - start)))
    parent.send("ready")
    while parent.recv() == "run":
        start = time.perf_counter()
        for _ in range(repeats):
            run()
        elapsed = time.perf_counter() - start
        time.sleep(_SETTLE_SECONDS)
        parent.send(elapsed * 1e3 / repeats)
    parent.send(mb)


def _peak_mb(run: Thunk) -> float:
    """What one run needs at its peak, beyond what the process holds between runs."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # glibc has kept what compiling freed
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again
    before = _status_mb("VmRSS")
    run()
    return _status_mb("VmHWM") - before


def _status_mb(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) * 1024 / 1e6
