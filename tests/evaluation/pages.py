"""What must hold of every report's page, and what it says."""

import base64
import csv
import io
import re
from html.parser import HTMLParser

from PIL import Image


class Page(HTMLParser):
    """Refuses elements that are not closed, and collects what is on the page."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.seen, self.words, self.anchors = [], [], [], set()
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, name, attributes):
        self.seen.append((name, dict(attributes)))
        self.anchors |= {value for key, value in attributes if key == "id"}
        if name not in ("img", "meta"):
            self.open.append(name)

    def handle_endtag(self, name):
        assert self.open.pop() == name

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())

    def all(self, name):
        return [attributes for element, attributes in self.seen if element == name]


def checked_page(path):
    """The page, after what must hold of every one."""
    text = path.read_text(encoding="utf-8")
    assert text.startswith("<!DOCTYPE html>")
    assert not re.search(r"https?:|<script|<link|@import|url\(", text)
    page = Page(text)
    for image in page.all("img"):
        assert image["alt"]
        kind, data = image["src"].split(",")
        assert kind == "data:image/png;base64"
        Image.open(io.BytesIO(base64.b64decode(data, validate=True))).verify()
    targets = [link["href"] for link in page.all("a")]
    assert all(re.fullmatch(r"#[a-z]+|[a-z_0-9]+\.[a-z]+", target) for target in targets)
    assert all(set(attributes) <= {"src", "alt", "width", "height"} for attributes in page.all("img"))
    assert {target[1:] for target in targets if target.startswith("#")} == page.anchors
    listed = {target for target in targets if not target.startswith("#")}
    assert listed | {"report.html"} == {file.name for file in path.parent.iterdir()}
    for name in listed:
        if name.endswith(".png"):
            Image.open(path.parent / name).verify()
    return page


def rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
