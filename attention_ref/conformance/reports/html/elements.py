"""HTML elements. Content that is not an element is text and is escaped automatically."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from urllib.parse import quote


class Markup(str):
    """Text that is already HTML."""

    __slots__ = ()


Content = str | None | Iterable["Content"]

_WITHOUT_END = ("br", "input", "meta")
_NEVER = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def element(name: str, /, *content: Content, **attributes: str | None) -> Markup:
    """Make an element.

    Arguments:
        name: the tag.
        content: elements, texts, or iterables of them; None is omitted.
        attributes: attributes by name, with a trailing underscore for Python keywords; None is omitted.
    """
    given = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items() if value is not None}
    start = "".join(f' {key}="{_escaped(value)}"' for key, value in given.items())
    end = "" if name in _WITHOUT_END else f"{join(*content)}</{name}>"
    return Markup(f"<{name}{start}>{end}")


def join(*content: Content) -> Markup:
    """Concatenate contents."""
    return Markup("".join(_piece(item) for item in content))


def link(target: str, *content: Content, **attributes: str | None) -> Markup:
    """Make a link to an id on the page."""
    return element("a", *content, href=f"#{quote(target)}", **attributes)


def code(text: str) -> Markup:
    """Make inline code that may break at dots, slashes and underscores."""
    breakable = re.sub("([._/:])", r"\1<wbr>", _escaped(text))
    return Markup(f"<code>{breakable}</code>")


def folded(summary: Content, *content: Content, is_open: bool = False) -> Markup:
    """Collapse contents under a summary."""
    return element("details", element("summary", summary), *content, open="" if is_open else None)


def terms(pairs: Iterable[tuple[Content, Content]], **attributes: str | None) -> Markup:
    """Make a definition list, without terms that have no description."""
    rows = (element("div", element("dt", term), element("dd", text)) for term, text in pairs if text)
    return element("dl", rows, **attributes)


def table(label: str, head: Iterable[Content], rows: Iterable[Content], **attributes: str | None) -> Markup:
    """Make a table in a scrolling box; `rows` are `tr` elements."""
    top = element("thead", element("tr", (element("th", cell, scope="col") for cell in head)))
    return boxed(element("table", top, element("tbody", rows), **attributes), label)


def boxed(content: Content, label: str) -> Markup:
    """Put wide content in a scrolling box with keyboard focus and a label for screen readers."""
    return element("div", content, class_="box", tabindex="0", role="region", aria_label=label)


def anchor(*words: str) -> str:
    """Make an id from words."""
    return "-".join(re.sub(r"[^A-Za-z0-9._/-]+", "-", word).strip("-") for word in words)


def _piece(item: Content) -> str:
    if isinstance(item, Markup):
        return item
    if isinstance(item, str):
        return _escaped(item)
    return "" if item is None else "".join(_piece(each) for each in item)


def _escaped(text: str) -> str:
    return html.escape(_NEVER.sub("\ufffd", text))
