"""Writes `jaxvision/catalogue/*.csv` from an installed timm: names, numbers and licences, no code.

Run it in the parity environment (`make golden` builds it): `python tests/reference/make_catalogue.py`.

`timm.csv` has one row per set of published weights (`architecture.tag`), and one row (`architecture`) for an
architecture that has none. Within an architecture the rows keep timm's order, whose first row is timm's default.
Parameters and BatchNorm statistics (elements of all running means and variances) are counted on the meta device,
with the number of classes and the input size of that row.
"""

import csv
import functools
from pathlib import Path

import timm
import torch
from timm.data import ImageNetInfo
from timm.models import get_arch_pretrained_cfgs, get_pretrained_cfg, list_models

CATALOGUE = Path(__file__).parents[2] / "jaxvision" / "catalogue"
MODULES = (
    "vision_transformer",
    "deit",
    "swin_transformer",
    "swin_transformer_v2",
    "efficientnet",
    "resnet",
    "resnetv2",
)


@functools.cache
def count(architecture: str, num_classes: int, img_size: tuple[int, int] | None) -> tuple[int, int]:
    """Parameters and BatchNorm statistics of an architecture, without allocating it."""
    size = {} if img_size is None else {"img_size": img_size}
    with torch.device("meta"):
        model = timm.create_model(architecture, num_classes=num_classes, **size)
    statistics = (buffer for name, buffer in model.named_buffers() if name.endswith(("running_mean", "running_var")))
    return sum(p.numel() for p in model.parameters()), sum(s.numel() for s in statistics)


def row(name: str, module: str) -> dict[str, object]:
    """The catalogue's row of `architecture` or `architecture.tag`."""
    cfg = get_pretrained_cfg(name, allow_unregistered=False)
    sized = module in ("vision_transformer", "deit", "swin_transformer", "swin_transformer_v2")
    params, statistics = count(name.split(".")[0], cfg.num_classes, cfg.input_size[-2:] if sized else None)
    return {
        "name": name,
        "module": module,
        "params": params,
        "bn_statistics": statistics,
        "num_classes": cfg.num_classes,
        "input_size": "x".join(map(str, cfg.input_size)),
        "crop_pct": cfg.crop_pct,
        "crop_mode": cfg.crop_mode,
        "interpolation": cfg.interpolation,
        "mean": " ".join(map(str, cfg.mean)),
        "std": " ".join(map(str, cfg.std)),
        "license": cfg.license or "",
        "hub_id": cfg.hf_hub_id or "",
        "url": cfg.url or "",
        "custom_load": cfg.custom_load or "",
    }


def write(path: Path, rows: list[dict[str, object]]) -> None:
    """Writes rows with a header and Unix line ends."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def main() -> None:
    """Writes both files."""
    rows = []
    for module in MODULES:
        for architecture in list_models(module=module):
            cfgs = get_arch_pretrained_cfgs(architecture)
            published = [name for name, cfg in cfgs.items() if cfg.has_weights]
            rows += [row(name, module) for name in published or [architecture]]
    write(CATALOGUE / "timm.csv", rows)
    info = ImageNetInfo("imagenet-1k")
    classes = [
        {"index": i, "synset": info.index_to_label_name(i), "lemmas": info.index_to_description(i)} for i in range(1000)
    ]
    write(CATALOGUE / "imagenet1k.csv", classes)


if __name__ == "__main__":
    main()
