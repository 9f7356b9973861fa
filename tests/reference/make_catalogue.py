"""Writes `jaxvision/catalogue/*.csv` from an installed timm: names, numbers and licences, no code.

Run it in the parity environment (`make golden` builds it): `python tests/reference/make_catalogue.py`. With the
`results` folder of a clone of timm's repository as an argument it writes the published accuracies and costs as well.

`timm.csv` has one row per set of published weights (`architecture.tag`), and one row (`architecture`) for an
architecture that has none. Within an architecture the rows keep timm's order, whose first row is timm's default.
Parameters and BatchNorm statistics (elements of all running means and variances) are counted on the meta device,
with the number of classes and the input size of that row; multiply-accumulates are counted in ours, so that a model
must be here already for its row to have them. `architectures.csv`, beside this script, is what only tests want to know.
"""

import csv
import functools
import sys
from collections.abc import Iterable
from pathlib import Path

import timm
import torch
from flax import nnx
from timm.data import ImageNetInfo
from timm.models import get_arch_pretrained_cfgs, get_deprecated_models, get_pretrained_cfg, list_models

import jaxvision
from jaxvision.macs import count_macs
from jaxvision.registry import families

HERE = Path(__file__).parent
CATALOGUE = HERE.parents[1] / "jaxvision" / "catalogue"
BENCHMARK = "benchmark-infer-amp-nchw-pt291-cu128-4090.csv"
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
def count(architecture: str, num_classes: int, img_size: tuple[int, int] | None) -> tuple[int, int, int, int]:
    """Parameters, BatchNorm statistics, width of the features and state-dict entries, without allocating anything."""
    size = {} if img_size is None else {"img_size": img_size}
    with torch.device("meta"):
        model = timm.create_model(architecture, num_classes=num_classes, **size)
    statistics = (buffer for name, buffer in model.named_buffers() if name.endswith(("running_mean", "running_var")))
    params = sum(p.numel() for p in model.parameters())
    return params, sum(s.numel() for s in statistics), model.num_features, len(model.state_dict())


@functools.cache
def count_ours(architecture: str, num_classes: int, input_size: tuple[int, int, int]) -> int:
    """Multiply-accumulates of our model; 0 where there is none yet."""
    if architecture not in families():
        return 0
    options = {"num_classes": num_classes, "img_size": input_size[1:]}
    model = nnx.eval_shape(lambda: jaxvision.create_model(architecture, **options), graph=True)
    return count_macs(model, input_size)


def row(name: str, module: str) -> dict[str, object]:
    """The catalogue's row of `architecture` or `architecture.tag`."""
    architecture = name.split(".")[0]
    cfg = get_pretrained_cfg(name, allow_unregistered=False)
    sized = module in ("vision_transformer", "deit", "swin_transformer", "swin_transformer_v2")
    params, statistics, *_ = count(architecture, cfg.num_classes, cfg.input_size[-2:] if sized else None)
    return {
        "name": name,
        "module": module,
        "params": params,
        "bn_statistics": statistics,
        "macs": count_ours(architecture, cfg.num_classes, tuple(cfg.input_size)),
        "num_classes": cfg.num_classes,
        "input_size": "x".join(map(str, cfg.input_size)),
        "crop_pct": cfg.crop_pct,
        "test_input_size": "x".join(map(str, cfg.test_input_size or ())),
        "test_crop_pct": cfg.test_crop_pct or "",
        "crop_mode": cfg.crop_mode,
        "interpolation": cfg.interpolation,
        "mean": " ".join(map(str, cfg.mean)),
        "std": " ".join(map(str, cfg.std)),
        "license": cfg.license or "",
        "hub_id": cfg.hf_hub_id or "",
        "url": cfg.url or "",
        "custom_load": cfg.custom_load or "",
    }


def architecture_row(name: str) -> dict[str, object]:
    """What only tests want to know of an architecture, as timm builds it when nothing else is said."""
    _, _, num_features, entries = count(name, get_pretrained_cfg(name).num_classes, None)
    return {"name": name, "num_features": num_features, "state_dict_keys": entries}


def published(path: Path, names: set[str], columns: dict[str, str]) -> list[dict[str, object]]:
    """The rows of one of timm's tables that are about a known name, with some columns under another name."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = [{new: row[old] for old, new in columns.items()} for row in csv.DictReader(file)]
    return sorted((row for row in rows if row["name"] in names), key=lambda row: (row["name"], int(row["img_size"])))


def write(path: Path, rows: list[dict[str, object]]) -> None:
    """Writes rows with a header and Unix line ends."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def main(results: Iterable[str]) -> None:
    """Writes all files."""
    rows, architectures = [], []
    for module in MODULES:
        for architecture in list_models(module=module):
            cfgs = get_arch_pretrained_cfgs(architecture)
            published_names = [name for name, cfg in cfgs.items() if cfg.has_weights]
            rows += [row(name, module) for name in published_names or [architecture]]
            architectures.append(architecture_row(architecture))
    write(CATALOGUE / "timm.csv", rows)
    write(HERE / "architectures.csv", architectures)
    former = {name: current for module in MODULES for name, current in get_deprecated_models(module).items()}
    write(CATALOGUE / "deprecated.csv", [{"name": name, "current": current} for name, current in former.items()])
    info = ImageNetInfo("imagenet-1k")
    classes = [
        {"index": i, "synset": info.index_to_label_name(i), "lemmas": info.index_to_description(i)} for i in range(1000)
    ]
    write(CATALOGUE / "imagenet1k.csv", classes)
    names = {str(row["name"]) for row in rows}
    names |= {name.split(".")[0] for name in names}
    kept = {"model": "name", "img_size": "img_size", "crop_pct": "crop_pct", "top1": "top1", "top5": "top5"}
    costs = {"model": "name", "infer_img_size": "img_size", "infer_gmacs": "gmacs", "infer_macts": "macts"}
    for folder in map(Path, results):
        write(CATALOGUE / "results.csv", published(folder / "results-imagenet.csv", names, kept))
        write(HERE / "costs.csv", published(folder / BENCHMARK, names, costs))


if __name__ == "__main__":
    main(sys.argv[1:2])
