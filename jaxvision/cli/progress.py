"""Bars for whoever watches on a terminal: how far it is, how fast, how long it will take."""

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class _Shown:
    """A bar that is shown while it is entered, which is on a terminal only."""

    def __init__(self, console: Console) -> None:
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[numbers]}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self._task = self._bar.add_task("starting", total=None, numbers="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def line(self, text: str) -> None:
        """A line above the bar."""
        self._bar.console.print(text, markup=False, highlight=False)


class Bar(_Shown):
    """Steps of the epoch with loss, accuracy and images/s, and the time left for the whole run.

    Elsewhere than on a terminal a run's log has the same numbers in lines.
    """

    def step(self, step: int, total: int, epoch: int, numbers: Mapping[str, Any]) -> None:
        """Where the run is."""
        parts = [f"loss {numbers['loss']:.4f}"] if "loss" in numbers else []
        parts += [f"accuracy {numbers['accuracy']:.1%}"] if "accuracy" in numbers else []
        parts += [f"{numbers['images_per_second']:.0f} images/s"] if "images_per_second" in numbers else []
        self._bar.update(
            self._task, completed=step, total=total, description=f"epoch {epoch + 1}", numbers="  ".join(parts)
        )


class Passes(_Shown):
    """Batches of one pass over data after the other."""

    def step(self, what: str, done: int, total: int) -> None:
        """Where the pass is."""
        if done == 1:
            self._bar.reset(self._task)
        self._bar.update(self._task, completed=done, total=total, description=what)
