"""Side-by-side timing: every contender in one process, in turns, medians; and tables of the results."""

import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence

Thunk = Callable[[], object]

_KEEP = {
    "MALLOC_TRIM_THRESHOLD_": "8589934592",
    "MALLOC_MMAP_THRESHOLD_": "8589934592",
    "MALLOC_ARENA_MAX": "1",
}
_PASSIVE = {"OMP_WAIT_POLICY": "passive"}


def set_up(passive: bool = False) -> None:
    """Restarts the script with its environment set for measuring, unless it is set already.

    glibc is told to keep freed memory. Otherwise it returns large buffers to the kernel after every step, and page
    faults are what is measured. Only its main arena can keep buffers of 64 MB and more, so that all threads are to use
    that one.

    Args:
        passive: also tell PyTorch's threads to sleep where they wait. By default they spin, and where another process
            takes one of the cores, a convolution of one millisecond then lasts as long as a slice of the scheduler's.
    """
    unset = {name: value for name, value in (_KEEP | (_PASSIVE if passive else {})).items() if name not in os.environ}
    if unset:
        print(f"restarting with {' '.join(f'{name}={value}' for name, value in unset.items())}", file=sys.stderr)
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **unset})


def torch_or_none(*also: str) -> bool:
    """Whether PyTorch (and the other modules named) can be compared with."""
    try:
        for name in ("torch", *also):
            __import__(name)
    except ImportError as error:
        print(f"{error}: no PyTorch columns", file=sys.stderr)
        return False
    return True


def interleaved(contenders: Mapping[str, Thunk], rounds: int, at_least: float = 0.005) -> dict[str, float]:
    """Median milliseconds of each contender over rounds in which all take turns.

    A fast contender is repeated within its turn until the turn lasts ``at_least`` seconds.
    """
    repeats = {}
    for name, run in contenders.items():
        run()
        start = time.perf_counter()
        run()
        repeats[name] = max(1, round(at_least / (time.perf_counter() - start)))
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            start = time.perf_counter()
            for _ in range(repeats[name]):
                run()
            times[name].append((time.perf_counter() - start) * 1e3 / repeats[name])
    return {name: statistics.median(values) for name, values in times.items()}


def print_table(header: Sequence[str], rows: Sequence[Sequence[object]], markdown: bool) -> None:
    """Prints rows under a header, aligned; floats to three significant digits."""
    text = [[_cell(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[i]) for row in text) for i in range(len(header))]
    for number, row in enumerate(text):
        cells = [
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        print("| " + " | ".join(cells) + " |" if markdown else "  ".join(cells))
        if number == 0 and markdown:
            print(
                "|" + "|".join(("-" if i == 0 else "-:").rjust(width + 2, "-") for i, width in enumerate(widths)) + "|"
            )


def _cell(value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
