"""What is known of every published model: tables of facts (their origin is in README.md here), and ImageNet's names."""

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from statistics import fmean
from types import MappingProxyType

from jaxvision.data.transforms import Preprocess

# timm's module of a row -> the family that has it here.
_FAMILIES = {
    "vision_transformer": "vit",
    "deit": "vit",
    "swin_transformer": "swin",
    "swin_transformer_v2": "swin_v2",
    "efficientnet": "efficientnet",
    "resnet": "resnet",
    "resnetv2": "resnetv2",
}


@dataclass(frozen=True)
class Result:
    """A published accuracy on ImageNet-1k's validation set.

    Attributes:
        img_size: side of the crop.
        crop_pct: side of the crop over the side resized to.
        top1: in percent.
        top5: in percent.
    """

    img_size: int
    crop_pct: float
    top1: float
    top5: float


@dataclass(frozen=True)
class ModelInfo:
    """Facts about an architecture or about one published set of its weights.

    Attributes:
        name: ``architecture.tag``, or ``architecture`` where there are no weights.
        architecture: timm's name of the network.
        tag: timm's name of the weights; None where there are none.
        family: the family it belongs to, such as ``"vit"``.
        num_params: trainable numbers, with this row's number of classes and input size.
        num_batch_stats: elements of all BatchNorm running means and variances.
        num_macs: multiply-accumulates of one image, with this row's number of classes and input size; see
            `jaxvision.macs.count_macs`.
        num_classes: outputs of the classifier; 0 for a network without one.
        input_size: (channels, height, width) in training, and for evaluation unless another is asked for.
        crop_pct: side of the centre crop over the side resized to.
        test_input_size: for evaluation, where timm knows a better size than that of training; `preprocess` takes it
            if told.
        test_crop_pct: ``crop_pct`` for that size; None for the same.
        crop_mode: ``"center"``, ``"squash"`` or ``"border"``; see `jaxvision.data.Preprocess`.
        interpolation: Pillow's filter for resizing, such as ``"bicubic"``.
        mean: per channel, of pictures scaled to [0, 1].
        std: per channel, of pictures scaled to [0, 1].
        license: SPDX-like name of the weights' licence; empty where none is stated.
        hub_id: repository on the Hugging Face hub; None where there is none.
        url: where the weights were first published, if timm gives it.
        custom_load: whether ``url`` is a Google ``.npz`` file instead of a PyTorch checkpoint.
        results: published accuracies, at this row's input size and perhaps at others.
    """

    name: str
    architecture: str
    tag: str | None
    family: str
    num_params: int
    num_batch_stats: int
    num_macs: int
    num_classes: int
    input_size: tuple[int, int, int]
    crop_pct: float
    test_input_size: tuple[int, int, int] | None
    test_crop_pct: float | None
    crop_mode: str
    interpolation: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    license: str
    hub_id: str | None
    url: str | None
    custom_load: bool
    results: tuple[Result, ...]

    @property
    def gmacs(self) -> float:
        """Multiply-accumulates of one image in billions."""
        return self.num_macs / 1e9

    @property
    def top1(self) -> float | None:
        """Published top-1 accuracy in percent with this row's own preprocessing; None where there is none."""
        return None if self._result is None else self._result.top1

    @property
    def top5(self) -> float | None:
        """Published top-5 accuracy in percent with this row's own preprocessing; None where there is none."""
        return None if self._result is None else self._result.top5

    @property
    def _result(self) -> Result | None:
        own = (self.input_size[1], self.crop_pct)
        return next((result for result in self.results if (result.img_size, result.crop_pct) == own), None)

    @property
    def _test_time(self) -> str:
        if self.test_input_size is None:
            return ""
        _, height, width = self.test_input_size
        return f"{height} x {width}, crop {self.test_crop_pct or self.crop_pct}"

    @property
    def pretrained(self) -> bool:
        """Whether published weights exist."""
        return self.tag is not None

    @property
    def non_commercial(self) -> bool:
        """Whether the licence of the weights forbids commercial use; such weights are never a default."""
        return "-nc" in self.license or self.license == "apple-amlr"  # Apple's is for research only

    def preprocess(
        self, img_size: int | tuple[int, int] | None = None, in_chans: int = 3, *, use_test_size: bool = False
    ) -> Preprocess:
        """The evaluation preprocessing that belongs to the weights.

        Args:
            img_size: another side or (height, width); None keeps the one of the weights.
            in_chans: 3 for colour; 1 for grey, with the average of the channels' mean and std.
            use_test_size: take size and crop of `test_input_size` and `test_crop_pct`, where there are any, as the
                published accuracies at that size do: 81.2 % in place of 80.4 % for ``resnet50.a1_in1k``. Only weights
                of convolutional networks have them, which take any size as they are.

        Raises:
            ValueError: pictures have no such number of channels.
        """
        if in_chans not in (1, 3):
            raise ValueError(f"pictures have 1 or 3 channels, got in_chans={in_chans}")
        input_size, crop_pct = self.input_size, self.crop_pct
        if use_test_size:
            input_size, crop_pct = self.test_input_size or input_size, self.test_crop_pct or crop_pct
        if img_size is None:
            img_size = input_size[1:]
        return Preprocess(
            size=(img_size, img_size) if isinstance(img_size, int) else img_size,
            crop_pct=crop_pct,
            crop_mode=self.crop_mode,
            interpolation=self.interpolation,
            mean=self.mean if in_chans == 3 else (fmean(self.mean),),
            std=self.std if in_chans == 3 else (fmean(self.std),),
        )

    def __str__(self) -> str:
        channels, height, width = self.input_size
        lines = {
            "family": self.family,
            "parameters": f"{self.num_params:,}",
            "BatchNorm statistics": f"{self.num_batch_stats:,}" if self.num_batch_stats else "",
            "GMACs": f"{self.gmacs:.2f}",
            "classes": str(self.num_classes),
            "input": f"{height} x {width}, {channels} channels",
            "preprocessing": f"{self.crop_mode} crop {self.crop_pct}, {self.interpolation}, "
            f"mean {self.mean}, std {self.std}",
            "at test time": self._test_time,
            "weights": self.hub_id or self.url or "none published",
            "licence": self.license,
            "top-1, top-5": "; ".join(
                f"{r.top1:.2f}, {r.top5:.2f} at {r.img_size} (crop {r.crop_pct})" for r in self.results
            ),
        }
        return "\n".join([self.name, *(f"  {key:<21}{value}" for key, value in lines.items() if value)])


def _size(text: str) -> tuple[int, int, int]:
    channels, height, width = (int(side) for side in text.split("x"))
    return channels, height, width


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(float(number) for number in text.split())


def _parse(row: Mapping[str, str], results: tuple[Result, ...]) -> ModelInfo:
    architecture, _, tag = row["name"].partition(".")
    return ModelInfo(
        name=row["name"],
        architecture=architecture,
        tag=tag or None,
        family=_FAMILIES[row["module"]],
        num_params=int(row["params"]),
        num_batch_stats=int(row["bn_statistics"]),
        num_macs=int(row["macs"]),
        num_classes=int(row["num_classes"]),
        input_size=_size(row["input_size"]),
        crop_pct=float(row["crop_pct"]),
        test_input_size=_size(row["test_input_size"]) if row["test_input_size"] else None,
        test_crop_pct=float(row["test_crop_pct"]) if row["test_crop_pct"] else None,
        crop_mode=row["crop_mode"],
        interpolation=row["interpolation"],
        mean=_numbers(row["mean"]),
        std=_numbers(row["std"]),
        license=row["license"],
        hub_id=row["hub_id"] or None,
        url=row["url"] or None,
        custom_load=bool(row["custom_load"]),
        results=results,
    )


def _rows(file: str) -> Iterator[dict[str, str]]:
    text = resources.files(__name__).joinpath(file).read_text(encoding="utf-8")
    yield from csv.DictReader(text.splitlines())


@lru_cache(maxsize=1)
def entries() -> Mapping[str, ModelInfo]:
    """Every row by its name; the rows of an architecture in timm's order, its default first."""
    results: dict[str, tuple[Result, ...]] = {}
    for row in _rows("results.csv"):
        result = Result(int(row["img_size"]), float(row["crop_pct"]), float(row["top1"]), float(row["top5"]))
        results[row["name"]] = (*results.get(row["name"], ()), result)
    return MappingProxyType({row["name"]: _parse(row, results.get(row["name"], ())) for row in _rows("timm.csv")})


@lru_cache(maxsize=1)
def by_architecture() -> Mapping[str, tuple[ModelInfo, ...]]:
    """The rows of every architecture, timm's default first."""
    groups: dict[str, tuple[ModelInfo, ...]] = {}
    for info in entries().values():
        groups[info.architecture] = (*groups.get(info.architecture, ()), info)
    return MappingProxyType(groups)


@lru_cache(maxsize=1)
def deprecated() -> Mapping[str, str]:
    """The names that timm had before: each with the ``architecture`` or ``architecture.tag`` of today."""
    return MappingProxyType({row["name"]: row["current"] for row in _rows("deprecated.csv")})


@lru_cache(maxsize=1)
def imagenet_classes() -> tuple[str, ...]:
    """The short names of the 1000 ImageNet-1k classes in the order of the classifier's outputs."""
    return tuple(row["lemmas"].split(", ")[0] for row in _rows("imagenet1k.csv"))
