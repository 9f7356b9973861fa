"""Writes models.md from models.in, the catalogue and the table of comparisons with timm: ``make docs``."""

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import median
from string import Template

from jaxvision.catalogue import ModelInfo, by_architecture
from jaxvision.registry import list_models, model_info

DOCS = Path(__file__).parent

Parity = Mapping[str, Mapping[str, str]]


def page() -> str:
    """The whole page."""
    text = (DOCS / "models.in").read_text(encoding="utf-8")
    infos = {name: model_info(name) for name in list_models()}
    with (DOCS / "parity.csv").open(newline="", encoding="utf-8") as file:
        parity = {row["name"]: row for row in csv.DictReader(file)}
    titles = {line[1:]: title for title, line in _sections(text)}
    tables = {family: _family([i for i in infos.values() if i.family == family], parity) for family in titles}
    worst = max(parity.values(), key=lambda row: float(row["relative"]))
    reduced = sum(row["structure"] != "full" for row in parity.values())
    return Template(text).substitute(
        tables,
        families=_summary(titles, infos, parity),
        architectures=len(infos),
        weights=sum(_published(name) for name in infos),
        median=_short(median(float(row["relative"]) for row in parity.values())),
        pytorch_median=_short(median(float(row["pytorch"]) for row in parity.values())),
        largest=_short(worst["relative"]),
        worst=worst["name"],
        pytorch_worst=_short(worst["pytorch"]),
        full=len(parity) - reduced,
        reduced=reduced,
    )


def _sections(text: str) -> Iterable[tuple[str, str]]:
    """The title of each family's section, and the line in it that stands for the table."""
    title = ""
    for line in text.splitlines():
        if line.startswith("## "):
            title = line.removeprefix("## ")
        elif line.startswith("$") and title and " " not in line:
            yield title, line


def _summary(titles: Mapping[str, str], infos: Mapping[str, ModelInfo], parity: Parity) -> str:
    rows = []
    for family, title in titles.items():
        own = {name: info for name, info in infos.items() if info.family == family}
        sizes = sorted(info.num_params for info in own.values())
        compared = [float(parity[name]["relative"]) for name in own if name in parity]
        rows.append(
            (
                f"[{title}](#{title.lower().replace(' ', '-')})",
                str(len(own)),
                str(sum(_published(name) for name in own)),
                f"{_millions(sizes[0])} to {_millions(sizes[-1])}",
                _short(max(compared)) if compared else "-",
            )
        )
    return _table(("family", "architectures", "weights", "parameters", "largest difference"), rows, right=(1, 2, 3, 4))


def _family(infos: Iterable[ModelInfo], parity: Parity) -> str:
    header = ("name", "parameters", "GMACs", "input", "weights and their top-1", "licence", "parity")
    return _table(header, [_row(info, parity.get(info.architecture)) for info in infos], right=(1, 2, 3))


def _row(info: ModelInfo, parity: Mapping[str, str] | None) -> tuple[str, ...]:
    _, height, width = info.input_size
    others = [row for row in by_architecture()[info.architecture] if row.pretrained]
    others.sort(key=lambda row: row.tag != info.tag)  # the default first; the others in timm's order
    return (
        f"`{info.architecture}`",
        _millions(info.num_params),
        f"{info.gmacs:.2f}",
        str(height) if height == width else f"{height} x {width}",
        ", ".join(_weights(row, info) for row in others) or "-",
        info.license or "-",
        "-" if parity is None else _short(parity["relative"]) + ("" if parity["structure"] == "full" else " *r*"),
    )


def _weights(info: ModelInfo, default: ModelInfo) -> str:
    """One set of weights: its tag, its accuracies, and in what it differs from the default."""
    text = f"`{info.tag}`" if info.top1 is None else f"`{info.tag}` {info.top1:.1f}"
    remarks = [f"{result.top1:.1f} at {result.img_size}" for result in info.results if result.top1 != info.top1]
    if info.input_size != default.input_size:
        remarks.insert(0, f"input {info.input_size[1]}")
    if info.num_classes not in (1000, default.num_classes):
        remarks.append(f"{info.num_classes} classes")
    if info.license != default.license:
        remarks.append(info.license or "no licence stated")
    return f"{text} ({', '.join(remarks)})" if remarks else text


def _table(header: Iterable[str], rows: Iterable[Iterable[str]], right: Iterable[int]) -> str:
    header = list(header)
    rule = ["--:" if index in right else "---" for index in range(len(header))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, rule, *rows)) + "\n"


def _published(architecture: str) -> int:
    return sum(info.pretrained for info in by_architecture()[architecture])


def _millions(number: int) -> str:
    return f"{number / 1e6:.2f} M"


def _short(number: float | str) -> str:
    return f"{float(number):.0e}"


if __name__ == "__main__":
    (DOCS / "models.md").write_text(page(), encoding="utf-8")
