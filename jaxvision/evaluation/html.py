"""HTML put together from elements, so that whatever is not markup is escaped."""

import re
from html import escape

_VOID = {"img", "meta", "br", "hr", "col", "link"}
_UNFIT = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ufdd0-\ufdef\ufffe\uffff]")


class Markup(str):
    """A string that is HTML already."""

    __slots__ = ()


def printable(text: str) -> str:
    """Text without what neither HTML nor a font can show: control characters, and bytes of no encoding.

    A file name may hold both; the bytes, which Python keeps as lone surrogates, become escapes.
    """
    return _UNFIT.sub("\N{REPLACEMENT CHARACTER}", text.encode("utf-8", "backslashreplace").decode("utf-8"))


def quoted(text: str) -> str:
    """A name in a sentence."""
    return f"\N{LEFT DOUBLE QUOTATION MARK}{text}\N{RIGHT DOUBLE QUOTATION MARK}"


def markup(content: str) -> Markup:
    """Markup as it is; any other string escaped and made `printable`."""
    return content if isinstance(content, Markup) else Markup(escape(printable(content)))


def tag(element: str, *children: str, **attributes: str | int | None) -> Markup:
    """One element. A trailing underscore of an attribute's name is dropped (``class_``); None leaves it out."""
    given = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{markup(str(value))}"'
        for name, value in attributes.items()
        if value is not None
    )
    if element in _VOID:
        return Markup(f"<{element}{given}>")
    return Markup(f"<{element}{given}>{''.join(markup(child) for child in children)}</{element}>")


def join(*parts: str, separator: str = "\n") -> Markup:
    """Several pieces one after the other."""
    return Markup(separator.join(markup(part) for part in parts))
