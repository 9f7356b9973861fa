"""Pictures with what was said about them."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageOps

from jaxvision.evaluation.plots.style import INK, MUTED, short, styled

_COLUMNS = 6


@styled
def picture_grid(pictures: Sequence[Image.Image | None], captions: Sequence[Sequence[str]]) -> Figure:
    """A grid of pictures.

    Args:
        pictures: at least one; None for one that cannot be shown.
        captions: lines under each, such as the truth and what was predicted; the last is the picture's name, of which
            the end is shown.
    """
    columns = min(_COLUMNS, len(pictures))
    rows = -(-len(pictures) // columns)
    lines = max(len(caption) for caption in captions)
    figure = Figure(figsize=(1.75 * columns, (1.85 + 0.15 * lines) * rows))
    grid = list(figure.subplots(rows, columns, squeeze=False).flat)
    sizes = [picture.size for picture in pictures if picture is not None] or [(1, 1)]
    size = max(width for width, _ in sizes), max(height for _, height in sizes)
    for axes in grid[len(pictures) :]:
        axes.axis("off")
    for axes, picture, (*said, name) in zip(grid, pictures, captions, strict=False):
        shown = Image.new("RGB", size, "white")
        if picture is None:
            axes.text(0.5, 0.5, "no picture", transform=axes.transAxes, ha="center", va="center", color=MUTED)
        else:
            shown = ImageOps.pad(picture.convert("RGB"), size, Image.Resampling.NEAREST, color="white")
        axes.imshow(np.asarray(shown), interpolation="nearest")
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        written = [*(short(line, 26) for line in said), short(name[::-1], 26)[::-1]]
        axes.set_xlabel("\n".join(written), loc="left", fontsize=7, color=INK, linespacing=1.4)
    return figure
