"""The frame of a report's page: heading, numbers to see first, words, contents, sections."""

import datetime
from collections.abc import Sequence
from importlib import resources

from jaxvision.evaluation.html import Markup, join, tag
from jaxvision.evaluation.sections import Section
from jaxvision.evaluation.summary import Headline
from jaxvision.version import __version__


def page(
    title: str, count: str, headlines: Sequence[Headline], summary: Sequence[str], sections: Sequence[Section]
) -> str:
    """A whole page, which needs no other file.

    Args:
        title: its heading.
        count: of what it is, such as ``"60 examples"``.
        headlines: the numbers to see first.
        summary: paragraphs under them.
        sections: all the rest.
    """
    style = resources.files("jaxvision.evaluation").joinpath("report.css").read_text(encoding="utf-8")
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", title),
        tag("style", Markup(f"\n{style}")),
    )
    tiles = [
        tag("div", tag("dt", line.name), tag("dd", line.value), tag("dd", line.note, class_="note"))
        for line in headlines
    ]
    byline = f"{count}. Written on {datetime.date.today().isoformat()} by jaxvision {__version__}."
    links = [tag("a", section.title, href=f"#{section.anchor}") for section in sections]
    parts = [
        tag("section", tag("h2", section.title, id=f"{section.anchor}"), section.body, aria_labelledby=section.anchor)
        for section in sections
    ]
    header = tag(
        "header",
        tag("h1", title),
        tag("p", byline, class_="byline"),
        *([tag("dl", join(*tiles), class_="tiles")] if tiles else []),
        *(tag("p", words, class_="summary") for words in summary),
        tag("nav", join(*links), aria_label="Contents"),
    )
    body = tag("body", join(header, tag("main", join(*parts))))
    return f"<!DOCTYPE html>\n{tag('html', join(head, body), lang='en')}\n"


def counted(number: int, one: str, several: str) -> str:
    """A number of things."""
    return f"{number} {one if number == 1 else several}"
