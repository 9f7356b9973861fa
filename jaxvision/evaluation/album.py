"""A report's folder: what is written there, and the same as pieces of the page."""

import base64
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from matplotlib.figure import Figure
from PIL import Image

from jaxvision.evaluation.examples import Example
from jaxvision.evaluation.html import Markup, join, tag
from jaxvision.evaluation.plain import plain
from jaxvision.evaluation.plots import picture_grid, save

Pictures = Callable[[int], UInt8[np.ndarray, "h w c"]]
_SIDE = 192  # pixels of a thumbnail's longer side
_CSS_PIXELS = 96  # an inch, as CSS counts


class Album:
    """Writes files into a folder and remembers them.

    Attributes:
        folder: where they go; made if need be.
        files: what was written, by name, with a description.
        problems: what went wrong without stopping the report.
    """

    def __init__(self, folder: str | Path, pictures: Pictures | None = None) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.files: dict[str, str] = {}
        self.problems: list[str] = []
        self._pictures = pictures

    def text(self, name: str, content: str, description: str) -> None:
        """Writes a text file. A file name in it need not be valid Unicode; what is not is written as an escape."""
        (self.folder / name).write_text(content, encoding="utf-8", errors="backslashreplace", newline="")
        self.files[name] = description

    def json(self, name: str, document: Any, description: str) -> None:
        """Writes a JSON file, of which anything is made `plain`."""
        self.text(name, json.dumps(plain(document), indent=2, ensure_ascii=False, allow_nan=False) + "\n", description)

    def figure(self, name: str, figure: Figure, alt: str, description: str, caption: str = "") -> Markup:
        """Writes a figure as PNG and returns it as an element of the page."""
        data = self._png(name, figure, description)
        width, height = (round(inches * _CSS_PIXELS) for inches in figure.get_size_inches())
        picture = tag("img", src=_data_url(data), alt=alt, width=width, height=height)
        return tag("figure", picture, *([tag("figcaption", caption)] if caption else []))

    def examples(self, name: str, examples: Sequence[Example], description: str) -> Markup:
        """A card for each example, with its picture where there are pictures, which also go into a PNG."""
        thumbnails = [self._thumbnail(example) for example in examples]
        if self._pictures is not None and examples:
            captions = [[*(f"{term}: {value}" for term, value in e.lines), e.name] for e in examples]
            self._png(name, picture_grid(thumbnails, captions), description)
        cards = [self._card(example, picture) for example, picture in zip(examples, thumbnails, strict=True)]
        return tag("div", join(*cards), class_="cards")

    def _png(self, name: str, figure: Figure, description: str) -> bytes:
        stream = io.BytesIO()
        save(figure, stream)
        (self.folder / name).write_bytes(stream.getvalue())
        self.files[name] = description
        return stream.getvalue()

    def _thumbnail(self, example: Example) -> Image.Image | None:
        if self._pictures is None:
            return None
        try:
            return thumbnail(self._pictures(example.index))
        except (OSError, ValueError) as error:  # a file that went away since must not cost the report
            self.problems.append(f"The picture of {example.name} cannot be shown: {error}.")
            return None

    def _card(self, example: Example, picture: Image.Image | None) -> Markup:
        parts = []
        if picture is not None:
            stream = io.BytesIO()
            picture.save(stream, format="PNG")
            alt = f"{example.name}: {', '.join(f'{term} {value}' for term, value in example.lines)}"
            parts.append(tag("div", tag("img", src=_data_url(stream.getvalue()), alt=alt), class_="frame"))
        elif self._pictures is not None:
            parts.append(tag("div", "no picture", class_="frame"))
        facts = [tag("div", tag("dt", term), tag("dd", value)) for term, value in example.lines]
        bars = [
            tag(
                "div",
                tag("span", bar.label, class_="label"),
                tag("span", f"{bar.probability:.3f}", class_="value"),
                tag("span", style=f"width:{100 * min(max(bar.probability, 0), 1):.1f}%", class_="fill"),
                class_=f"bar {bar.kind}",
            )
            for bar in example.bars
        ]
        caption = tag("figcaption", tag("dl", *facts), *bars, tag("p", example.name, class_="name"))
        return tag("figure", *parts, caption, class_="card")


def thumbnail(pixels: UInt8[np.ndarray, "h w c"]) -> Image.Image:
    """A picture of at most 192 pixels a side; a tiny one is enlarged by a whole factor, pixel by pixel.

    One channel is grey, three are colours; of any other number the first three, or the first, are shown.

    Raises:
        ValueError: not a picture of bytes.
    """
    array = np.asarray(pixels)
    array = array[..., None] if array.ndim == 2 else array
    if array.ndim != 3 or array.dtype != np.uint8 or array.size == 0:
        raise ValueError(
            f"a picture must be uint8 of the shape (height, width, channels), got {array.dtype} {array.shape}"
        )
    shown = np.ascontiguousarray(array[..., :3] if array.shape[2] >= 3 else array[..., 0])
    image = Image.fromarray(shown)
    longest = max(image.size)
    if longest > _SIDE:
        image.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    elif longest <= _SIDE // 2:
        factor = _SIDE // longest
        image = image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    return image


def _data_url(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
