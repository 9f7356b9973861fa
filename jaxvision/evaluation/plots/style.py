"""One look for all figures."""

import warnings
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import IO, Any, ParamSpec, TypeVar

import matplotlib
from matplotlib.figure import Figure

from jaxvision.evaluation.html import printable

# Okabe and Ito's colours (2008), told apart by colour-blind readers too.
BLUE, ORANGE, GREEN, PURPLE, SKY, AMBER = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00"
CYCLE = (BLUE, ORANGE, GREEN, PURPLE, SKY, AMBER)
INK, MUTED, FAINT = "#24292f", "#6b7480", "#d5dae0"
PAPER: dict[str, Any] = {
    "facecolor": "white",
    "edgecolor": "none",
    "alpha": 0.85,
    "pad": 1.5,
}  # behind a label among lines
DPI = 160

_STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "text.color": INK,
    "text.parse_math": False,  # a class may be called "$5"
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": "#aab2bb",
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#edf0f3",
    "grid.linewidth": 0.8,
    "xtick.color": "#aab2bb",
    "ytick.color": "#aab2bb",
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.7,
    "figure.facecolor": "white",
    "figure.constrained_layout.use": True,
    "savefig.facecolor": "white",
}

P = ParamSpec("P")
R = TypeVar("R")


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """Draws in the common style, without a trace in matplotlib's global settings afterwards."""

    @wraps(draw)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        with matplotlib.rc_context(_STYLE):
            return draw(*args, **kwargs)

    return wrapper


@styled
def save(figure: Figure, target: str | Path | IO[bytes]) -> None:
    """Writes a figure as PNG."""
    with warnings.catch_warnings():
        # DejaVu lacks some scripts; a box stands for the letter in the picture, and the tables have the name.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        # The time and matplotlib's version would make equal figures unequal files.
        figure.savefig(target, format="png", dpi=DPI, metadata={"Software": None})


def short(name: str, limit: int = 24) -> str:
    """A name that fits beside an axis and that fonts can draw."""
    name = printable(name)
    return name if len(name) <= limit else f"{name[: limit - 1]}…"
