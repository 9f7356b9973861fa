"""``jaxvision train``: from data to a checked classifier."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

import tyro

from jaxvision.cli.errors import CommandError, UsageError
from jaxvision.training.config import ConfigError, TrainConfig, read_config
from jaxvision.training.recipes import recipe

if TYPE_CHECKING:
    from jaxvision.experiment.train import RunResult


@dataclass(frozen=True, kw_only=True)
class Command(TrainConfig):
    """Train a network on a folder of pictures, or on other data.

    Writes checkpoints, metrics and, at the end, report.html into --output. Ctrl-C and SIGTERM save and leave; --resume
    auto goes on, to the bit. Settings come from --recipe, then --config, then the other flags.
    """

    recipe: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """Start from the settings of a recipe: vit_s16_in1k, swin_t_in1k, efficientnet_b0_in1k, resnet101_in1k, finetune,
    finetune_frozen, linear_probe or covid_ct."""
    config: Path | None = None
    """Start from a file of settings, such as a run's args.yaml."""
    compare_imbalance: bool = False
    """Train once with each remedy for imbalanced classes, and compare them in one table."""

    @classmethod
    def parse(cls, prog: str, words: Sequence[str], base: str | None = None) -> Self:
        """Reads a command line, whose defaults are a recipe's and a file's.

        Args:
            prog: what the command is called in its help.
            words: the command line.
            base: the recipe to start from where the command line names none.

        Raises:
            UsageError: there is no such recipe, or the file cannot be used.
        """
        first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        first.add_argument("--recipe")
        first.add_argument("--config")
        known, _ = first.parse_known_args(list(words))
        name = known.recipe or base
        try:
            settings = TrainConfig() if name is None else recipe(name)
            if known.config is not None:
                settings = read_config(known.config, settings)
        except ConfigError as error:
            raise UsageError(str(error)) from None
        default = cls(**{field.name: getattr(settings, field.name) for field in fields(settings)})
        options = (tyro.conf.DisallowNone,)
        return tyro.cli(cls, prog=prog, args=list(words), default=default, config=options)

    @property
    def settings(self) -> TrainConfig:
        """The settings alone."""
        return TrainConfig(**{field.name: getattr(self, field.name) for field in fields(TrainConfig)})

    def run(self) -> int:
        """Runs the command."""

        def train() -> int:
            from jaxvision.experiment.imbalance import compare_imbalance
            from jaxvision.experiment.train import run_training

            if self.compare_imbalance:
                comparison = compare_imbalance(self.settings, say)
                sys.stdout.write(f"\n{comparison.table.text()}\nreport: {comparison.report}\n")
                return 0
            from rich.console import Console

            console = Console()
            if not console.is_terminal:
                return show(run_training(self.settings, say))
            from jaxvision.cli.progress import Bar

            with Bar(console) as bar:
                result = run_training(self.settings, bar.line, bar.step)
            return show(result)

        return guarded(self.settings, train)


def show(result: "RunResult") -> int:
    """Prints the report's numbers and where it is; returns the exit code."""
    from jaxvision.evaluation.classification import ClassificationResult
    from jaxvision.evaluation.classification_report import classification_report_text

    if result.stopped.startswith("SIG"):
        return 130 if result.stopped == "SIGINT" else 143
    if isinstance(result.result, ClassificationResult):
        sys.stdout.write(f"\n{result.split} data\n{classification_report_text(result.result)}\n")
    if result.report is not None:
        sys.stdout.write(f"report: {result.report}\n")
    if result.uncertainty is not None:
        from jaxvision.cli import uncertainty

        return uncertainty.show(result.uncertainty)
    return 0


def say(line: str) -> None:
    """A line of progress."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def guarded(settings: TrainConfig, action: Any) -> int:
    """Runs an action, and turns what a user can put right into one line."""
    set_up(settings)
    from jaxvision.data.dataset import DatasetError
    from jaxvision.data.images import ImageError
    from jaxvision.data.loader import BadFilesError
    from jaxvision.training.checkpoint import CheckpointError
    from jaxvision.training.distributed import DistributedError
    from jaxvision.training.loop import DivergedError
    from jaxvision.weights import WeightsError

    try:
        code: int = action()
    except (ConfigError, DatasetError, ValueError, TypeError) as error:
        # What checks settings raises ValueError or TypeError; a traceback of anything else is a defect of ours.
        if _is_ours(error):
            raise UsageError(str(error)) from None
        raise
    except (
        WeightsError,
        CheckpointError,
        DistributedError,
        DivergedError,
        BadFilesError,
        ImageError,
        ModuleNotFoundError,
    ) as error:
        raise CommandError(str(error)) from None
    return code


def set_up(settings: TrainConfig) -> None:
    """Switches the compile cache on, and shows the library's warnings as lines."""
    import logging
    import os

    logging.basicConfig(level=logging.WARNING, format="jaxvision: %(message)s")
    import jax

    folder = settings.job.compile_cache or os.environ.get("JAX_COMPILATION_CACHE_DIR")
    if folder is None:
        cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        folder = str(Path(cache) / "jaxvision" / "xla")
    if folder != "none":
        jax.config.update("jax_compilation_cache_dir", folder)


def _is_ours(error: BaseException) -> bool:
    """Whether an error was raised by a check of this library, not somewhere inside another one."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and "jaxvision" in Path(trace.tb_frame.f_code.co_filename).parts
