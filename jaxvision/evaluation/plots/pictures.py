"""Pictures with what was said about them."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageOps

from jaxvision.evaluation.plots.style import INK, MUTED, short, styled

_COLUMNS = 6


@styled
def picture_grid(pictures: Sequence[Image.Image | None], captions: Sequence[tuple[str, str, str]]) -> Figure:
    """A grid of pictures.

    Args:
        pictures: at least one; None for one that cannot be shown.
        captions: three lines under each: the truth, what was predicted, the picture's name, of which the end is shown.
    """
    columns = min(_COLUMNS, len(pictures))
    rows = -(-len(pictures) // columns)
    figure = Figure(figsize=(1.75 * columns, 2.3 * rows))
    grid = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in grid:
        axes.axis("off")
    side = max((max(picture.size) for picture in pictures if picture is not None), default=1)
    for axes, picture, (truth, said, name) in zip(grid, pictures, captions, strict=False):
        shown = Image.new("RGB", (side, side), "white")
        if picture is None:
            axes.text(0.5, 0.5, "no picture", transform=axes.transAxes, ha="center", va="center", color=MUTED)
        else:
            shown = ImageOps.pad(picture.convert("RGB"), (side, side), Image.Resampling.NEAREST, color="white")
        axes.imshow(np.asarray(shown), interpolation="nearest")
        lines = ((short(truth, 26), INK, 7.5), (short(said, 26), INK, 7.5), (short(name[::-1], 28)[::-1], MUTED, 6.5))
        for place, (line, color, size) in enumerate(lines):
            axes.annotate(
                line,
                (0, 0),
                (0, -4 - 10 * place),
                "axes fraction",
                "offset points",
                va="top",
                color=color,
                fontsize=size,
            )
    return figure
