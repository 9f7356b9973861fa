"""Pictures with what was said about them."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from jaxvision.evaluation.plots.style import INK, MUTED, short, styled

_COLUMNS = 6


@styled
def picture_grid(pictures: Sequence[Image.Image | None], captions: Sequence[tuple[str, str, str]]) -> Figure:
    """A grid of pictures.

    Args:
        pictures: None for one that cannot be shown.
        captions: three lines under each: the truth, what was predicted, the picture's name.
    """
    columns = min(_COLUMNS, len(pictures))
    rows = -(-len(pictures) // columns)
    figure = Figure(figsize=(1.75 * columns, 2.35 * rows))
    grid = figure.subplots(rows, columns, squeeze=False).flat
    for axes in grid:
        axes.axis("off")
    for axes, picture, (truth, said, name) in zip(grid, pictures, captions, strict=False):
        if picture is None:
            axes.text(0.5, 0.5, "no picture", ha="center", va="center", color=MUTED)
            axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
        else:
            axes.imshow(np.asarray(picture.convert("RGB")), interpolation="nearest")
        below = {"transform": axes.transAxes, "va": "top", "fontsize": 7.5}
        axes.text(0, -0.03, short(truth, 26), color=INK, **below)
        axes.text(0, -0.15, short(said, 26), color=INK, **below)
        axes.text(0, -0.27, short(name, 28), color=MUTED, **(below | {"fontsize": 6.5}))
    return figure
