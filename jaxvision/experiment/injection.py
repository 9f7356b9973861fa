"""The settings of injected dropout, as ``--help`` shows them. Light: nothing here imports JAX."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class InjectionOptions:
    """Where dropout is injected into a trained network, and how its rate and scale are found."""

    sites: tuple[str, ...] = ("head",)
    """What becomes random: head (before the classifier; a hundred samples cost little more than one pass), last-stage,
    all-blocks, or patterns of module paths such as 'blocks.*.mlp'."""
    mask: Literal["element", "channel", "token", "head", "depth", "connect", "gaussian"] | None = None
    """What is dropped together. Default: what suits the sites."""
    at: Literal["input", "output"] = "output"
    """Drop what goes into the modules that patterns select, or what comes out."""
    shared: bool = False
    """One mask for all pictures of a pass."""
    samples: int = 100
    """Random passes."""
    rates: tuple[float, ...] = ()
    """Dropout rates to choose from. Default: twelve from 0.001 to 0.5."""
    rate: float | None = None
    """Take this dropout rate, and tune the scale or the temperature only."""
    scale: Literal["variance", "relaxed", "affine", "power", "constant", "temperature", "none"] | None = None
    """Numbers: how the variance is scaled, where variance is the paper's factor. Default: the best of variance, affine
    and power. Classes: temperature (default) or none."""
    center: Literal["mc", "deterministic"] | None = None
    """Numbers: predict the mean of the passes, or what the network says without dropout. Default: the better one."""
    alpha: float | None = None
    """Also make conformal sets (intervals, for numbers) that miss the truth with this probability, such as 0.1. Half of
    what tunes is set aside for it."""
    seed: int = 0
    """Of the masks, and of divisions of splits."""
