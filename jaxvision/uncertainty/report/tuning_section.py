"""How the rate and the scale were chosen, and what they had to beat."""

from typing import TYPE_CHECKING

import numpy as np

from jaxvision.evaluation.album import Album
from jaxvision.evaluation.html import join, tag
from jaxvision.evaluation.sections import Section, hint, scrolled
from jaxvision.uncertainty.candidates import candidate_table
from jaxvision.uncertainty.plots import Level, Point, nll_over_rate

if TYPE_CHECKING:
    from jaxvision.uncertainty.calibration import Calibrated


def tuning_section(album: Album, calibration: "Calibrated | None") -> list[Section]:
    """The likelihood over the rate, and the table of everything that was compared; nothing without a calibration."""
    if calibration is None:
        return []
    chosen = calibration.result
    words = (
        f"Chosen by the likelihood of the tuning rows: {chosen.name}, rate {calibration.rate:g}, "
        f"{calibration.num_samples} passes. {calibration.split[:1].upper()}{calibration.split[1:]}."
    )
    parts: list[str] = [tag("p", words)]
    others = [c for c in calibration.candidates if c.name != chosen.name and c.nll is not None]
    rates = np.array([c.rate for c in calibration.sweep], np.float64)
    nll = np.array([np.nan if c.nll is None else c.nll for c in calibration.sweep])
    if len(rates) > 1 and np.isfinite(nll).sum() > 1:
        levels = [Level(c.name, c.nll) for c in others if c.rate is None and c.nll is not None]
        points = [Point(c.name, c.rate, c.nll) for c in others if c.rate is not None and c.nll is not None]
        figure = nll_over_rate(chosen.name, rates, nll, calibration.rate, levels, points)
        alt = f"NLL on the tuning rows over the dropout rate, lowest at {calibration.rate:g}, with the baselines"
        caption = "Dashed: what needs no passes. Diamonds: other ways, each at its best rate."
        parts.append(album.figure("rates.png", figure, alt, "the likelihood over the dropout rate", caption))
    table = candidate_table(calibration.candidates, chosen.name)
    album.text("tuning.csv", table.csv(), "everything that tuning compared")
    parts += [hint("Mean negative log-likelihood in nats, lower is better."), scrolled(table.html())]
    return [Section("tuning", "Rate and scale", join(*parts))]
