"""RandAugment (Cubuk et al. 2020, arXiv:1909.13719) with timm's operations, ranges and configuration strings."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from jaxvision.data import pixel_ops as ops
from jaxvision.data.pixel_ops import Pixels, Warp
from jaxvision.paths import suggestion

Operation = Callable[[Pixels, float, np.random.Generator, Warp], Pixels]


def _signed(value: float, rng: np.random.Generator) -> float:
    return -value if rng.random() < 0.5 else value


def _away_from_one(level: float, rng: np.random.Generator) -> float:
    return max(0.1, 1 + _signed(0.9 * level, rng))


# Each takes the magnitude as a fraction: 1 is magnitude 10, and less or more is possible.
OPERATIONS: dict[str, Operation] = {
    "AutoContrast": lambda x, level, rng, warp: ops.autocontrast(x),
    "Equalize": lambda x, level, rng, warp: ops.equalize(x),
    "Invert": lambda x, level, rng, warp: ops.invert(x),
    "Rotate": lambda x, level, rng, warp: ops.rotate(x, _signed(30 * level, rng), warp),
    "Posterize": lambda x, level, rng, warp: ops.posterize(x, min(8, int(4 * level))),
    "PosterizeIncreasing": lambda x, level, rng, warp: ops.posterize(x, max(0, 4 - int(4 * level))),
    "Solarize": lambda x, level, rng, warp: ops.solarize(x, int(256 * level)),
    "SolarizeIncreasing": lambda x, level, rng, warp: ops.solarize(x, 256 - int(256 * level)),
    "SolarizeAdd": lambda x, level, rng, warp: ops.solarize_add(x, int(110 * level)),
    "Color": lambda x, level, rng, warp: ops.color(x, 0.1 + 1.8 * level),
    "ColorIncreasing": lambda x, level, rng, warp: ops.color(x, _away_from_one(level, rng)),
    "Contrast": lambda x, level, rng, warp: ops.contrast(x, 0.1 + 1.8 * level),
    "ContrastIncreasing": lambda x, level, rng, warp: ops.contrast(x, _away_from_one(level, rng)),
    "Brightness": lambda x, level, rng, warp: ops.brightness(x, 0.1 + 1.8 * level),
    "BrightnessIncreasing": lambda x, level, rng, warp: ops.brightness(x, _away_from_one(level, rng)),
    "Sharpness": lambda x, level, rng, warp: ops.sharpness(x, 0.1 + 1.8 * level),
    "SharpnessIncreasing": lambda x, level, rng, warp: ops.sharpness(x, _away_from_one(level, rng)),
    "ShearX": lambda x, level, rng, warp: ops.affine(x, (1, _signed(0.3 * level, rng), 0, 0, 1, 0), warp),
    "ShearY": lambda x, level, rng, warp: ops.affine(x, (1, 0, 0, _signed(0.3 * level, rng), 1, 0), warp),
    "TranslateXRel": lambda x, level, rng, warp: ops.affine(
        x, (1, 0, _signed(0.45 * level, rng) * x.shape[1], 0, 1, 0), warp
    ),
    "TranslateYRel": lambda x, level, rng, warp: ops.affine(
        x, (1, 0, 0, 0, 1, _signed(0.45 * level, rng) * x.shape[0]), warp
    ),
}

_SAME = ("AutoContrast", "Equalize", "Invert", "Rotate")
_LEVELLED = ("Posterize", "Solarize", "Color", "Contrast", "Brightness", "Sharpness")
_GEOMETRIC = ("ShearX", "ShearY", "TranslateXRel", "TranslateYRel")
_PLAIN = (*_SAME, *_LEVELLED, "SolarizeAdd", *_GEOMETRIC)
_INCREASING = (*_SAME, *(f"{name}Increasing" for name in _LEVELLED), "SolarizeAdd", *_GEOMETRIC)
# timm's weights, loosely after the gains that the paper measured for each operation.
_WEIGHTS = {
    "Rotate": 3,
    "ShearX": 2,
    "ShearY": 2,
    "TranslateXRel": 1,
    "TranslateYRel": 1,
    "ColorIncreasing": 0.25,
    "SharpnessIncreasing": 0.25,
    "AutoContrast": 0.25,
    "SolarizeIncreasing": 0.05,
    "SolarizeAdd": 0.05,
    "ContrastIncreasing": 0.05,
    "BrightnessIncreasing": 0.05,
    "Equalize": 0.05,
    "PosterizeIncreasing": 0.05,
    "Invert": 0.05,
}
_NOTATION: dict[str, tuple[str, Callable[[float], Any]]] = {
    "m": ("magnitude", float),
    "n": ("num_layers", int),
    "p": ("prob", float),
    "mstd": ("magnitude_std", lambda std: std if std <= 100 else float("inf")),
    "mmax": ("magnitude_max", float),
    "inc": ("increasing", bool),
}


@dataclass(frozen=True)
class RandAugment:
    """A few operations drawn at random, each applied with some probability at about one magnitude.

    Attributes:
        magnitude: strength from 0 to 10.
        num_layers: operations drawn for a picture.
        prob: probability with which a drawn operation is applied.
        magnitude_std: standard deviation of the magnitude; ``inf`` draws it uniformly from 0 to ``magnitude``.
        magnitude_max: the magnitude drawn is cut to 0 and this.
        increasing: use the variants of which all grow stronger with the magnitude.
        weighted: draw by timm's weights and without replacement, instead of evenly and with; always the increasing
            variants.

    Raises:
        ValueError: a field is out of range.
    """

    magnitude: float = 10
    num_layers: int = 2
    prob: float = 0.5
    magnitude_std: float = 0
    magnitude_max: float = 10
    increasing: bool = False
    weighted: bool = False

    def __post_init__(self) -> None:
        if not (self.magnitude >= 0 and self.magnitude_std >= 0 and self.magnitude_max > 0):
            raise ValueError(f"RandAugment's magnitude, its std and maximum must not be negative, got {self}")
        if not 0 <= self.prob <= 1:
            raise ValueError(f"RandAugment's p must be a probability, got {self.prob}")
        if not 1 <= self.num_layers <= (len(_WEIGHTS) if self.weighted else self.num_layers):
            raise ValueError(f"RandAugment's n must be 1 or more, and at most 15 if weighted, got {self.num_layers}")

    @classmethod
    def parse(cls, config: str) -> Self:
        """Reads timm's notation, such as ``rand-m9-n2-mstd0.5-inc1``.

        The parts, in any order: ``m`` magnitude, ``n`` layers, ``p`` probability, ``mstd`` (above 100: uniform),
        ``mmax``, ``inc1`` increasing, ``tweights`` weighted.

        Raises:
            ValueError: the string does not begin with ``rand``, or a part is unknown.
        """
        first, *parts = config.split("-")
        if first != "rand":
            raise ValueError(
                f"auto_augment must be RandAugment in timm's notation, such as 'rand-m9-mstd0.5-inc1', got {config!r}"
            )
        fields: dict[str, Any] = {}
        for part in parts:
            found = re.fullmatch(r"(mstd|mmax|inc|m|n|p)(\d+\.?\d*)", part)
            if part == "tweights":
                fields["weighted"] = True
            elif found is None:
                known = ["m9", "n2", "p0.5", "mstd0.5", "mmax10", "inc1", "tweights"]
                raise ValueError(
                    f"{part!r} in {config!r} is not a part of RandAugment's notation"
                    f"{suggestion(part, known) or f'; the parts are like {known}'}"
                )
            else:
                name, kind = _NOTATION[found[1]]
                fields[name] = kind(float(found[2]))
        return cls(**fields)

    def __call__(self, pixels: Pixels, rng: np.random.Generator, fill: tuple[int, ...], *interpolations: int) -> Pixels:
        """A changed copy of a picture.

        Args:
            pixels: uint8 (h, w, c).
            rng: the source of all randomness.
            fill: the colour of what comes in from outside.
            interpolations: of OpenCV; each geometric operation draws one.
        """
        if self.weighted:
            weights = np.array(list(_WEIGHTS.values()))
            names = rng.choice(list(_WEIGHTS), self.num_layers, replace=False, p=weights / weights.sum()).tolist()
        else:
            known = _INCREASING if self.increasing else _PLAIN
            names = [known[index] for index in rng.integers(len(known), size=self.num_layers)]
        for name in names:
            if rng.random() < self.prob:
                warp = Warp(interpolations[rng.integers(len(interpolations))], fill)
                pixels = OPERATIONS[name](pixels, self._draw_magnitude(rng) / 10, rng, warp)
        return pixels

    def _draw_magnitude(self, rng: np.random.Generator) -> float:
        if self.magnitude_std == float("inf"):
            drawn = rng.uniform(0, self.magnitude)
        else:
            drawn = rng.normal(self.magnitude, self.magnitude_std)
        return min(max(drawn, 0.0), self.magnitude_max)
