"""The command ``jaxvision``. Each command is a module here with a dataclass ``Command``; nothing else imports them.

JAX and the like are imported by a command when it runs, so that ``--help`` is quick.
"""

import argparse
import importlib
import io
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TextIO

import tyro

from jaxvision.cli.errors import CommandError, UsageError
from jaxvision.cli.memory import keep_freed_memory
from jaxvision.version import __version__

COMMANDS = (
    "train",
    "finetune",
    "evaluate",
    "uncertainty",
    "prepare",
    "predict",
    "explain",
    "convert",
    "models",
    "demo",
)


def main(args: Sequence[str] | None = None) -> int:
    """Runs a command line.

    Args:
        args: the words after ``jaxvision``; None for those of the process.

    Returns:
        The exit code: 0 for success, 1 if something could not be done, 2 for a wrong command line, 130 after Ctrl-C.

    Raises:
        SystemExit: after ``--help`` and ``--version``, and where the command line cannot be parsed.
    """
    words = list(sys.argv[1:] if args is None else args)
    if not words or words[0] not in COMMANDS:
        _overview().parse_args(words or ["--help"])
    name, *rest = words
    keep_freed_memory()
    if isinstance(sys.stdout, io.TextIOWrapper):  # a file name need not be valid Unicode
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        with _warnings_as_lines():
            code: int = _parse(name, rest).run()
        sys.stdout.flush()
    except CommandError as error:
        sys.stderr.write(f"jaxvision: {error}\n")
        return 2 if isinstance(error, UsageError) else 1
    except BrokenPipeError:  # the reader, such as `head`, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        sys.stderr.write("jaxvision: interrupted\n")
        return 130
    return code


@contextmanager
def _warnings_as_lines() -> Iterator[None]:
    """Shows the library's own warnings as its errors are shown: one line, once, and no place in the code."""
    shown = set()
    with warnings.catch_warnings():
        show = warnings.showwarning

        def show_as_line(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if not category.__module__.startswith("jaxvision."):
                show(message, category, filename, lineno, file, line)
            elif str(message) not in shown:
                shown.add(str(message))
                sys.stderr.write(f"jaxvision: {message}\n")

        warnings.showwarning = show_as_line
        yield


def _command(name: str) -> Any:
    return importlib.import_module(f"{__name__}.{name}").Command


def _parse(name: str, words: Sequence[str]) -> Any:
    """The command with its options; a command whose defaults depend on an option has a ``parse`` of its own."""
    command, prog = _command(name), f"jaxvision {name}"
    if hasattr(command, "parse"):
        return command.parse(prog, words)
    return tyro.cli(command, prog=prog, args=words, config=(tyro.conf.DisallowNone,))


def _overview() -> argparse.ArgumentParser:
    """What answers a command line without a command: help, the version, or an error that lists the commands."""
    parser = argparse.ArgumentParser("jaxvision", description="Vision models for JAX, with timm's names and weights.")
    parser.add_argument("--version", action="version", version=f"jaxvision {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="command", required=True)
    for name in COMMANDS:
        commands.add_parser(name, help=_command(name).__doc__.splitlines()[0], add_help=False)
    return parser
