"""Which subjects are shown: a box to tick for each, which works without scripts; the script keeps it in the address."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources

from attention_ref.conformance.reports.html.elements import Markup, code, element, folded
from attention_ref.conformance.reports.matrix import Column

_FEW = 6
"""Up to so many columns are all shown at first."""


def section(columns: Sequence[Column]) -> Markup | None:
    """Write a checkbox for each column, grouped by library; empty if there is only one column."""
    if len(columns) < 2:
        return None
    at_first = shown_at_first(columns)
    groups: dict[str, list[Markup]] = {}
    for number, each in enumerate(columns):
        groups.setdefault(_library(each), []).append(_box(number, each, is_ticked=each in at_first))
    fields = (element("fieldset", element("legend", library), found) for library, found in groups.items())
    buttons = (element("button", text, type="button", value=text) for text in ("all", "none"))
    return element(
        "section",
        folded("Choose libraries", element("div", fields, class_="boxes"), is_open=True),
        element("p", buttons, class_="buttons", hidden=""),
        _script(),
        id="choice",
    )


def shown_at_first(columns: Sequence[Column]) -> list[Column]:
    """Return the columns that are selected at first: if there are many, one for each function without its variants."""
    if len(columns) <= _FEW:
        return list(columns)
    found: dict[str, Column] = {}
    for each in columns:
        function = each.name.partition(" on ")[0]
        if function.count(".") <= 1 or ":" in function:
            found.setdefault(function if _library(each) != _OWN else _OWN, each)
    return list(found.values())


def style(columns: Sequence[Column]) -> str:
    """Return the rules that hide the columns of the tables and the lines of the lists whose boxes are not ticked."""
    rules = (
        f"body:has(#show-{number}:not(:checked)) :is(.columns :is(td, th):nth-child({number + 2}), "
        f".each > li:nth-child({number + 1})) {{ display: none; }}"
        for number in range(len(columns))
    )
    return "\n".join(rules) if len(columns) > 1 else ""


_OWN, _BACKENDS = "attention_ref", ("numpy", "torch", "keras")


def _script() -> Markup:
    """Return the script that reads the choice from the address and writes it there."""
    return element("script", Markup(resources.files(__package__).joinpath("choice.js").read_text(encoding="utf-8")))


def _library(each: Column) -> str:
    """Return the library of a subject: the name before the first dot; for a backend, this library."""
    function = each.name.partition(" on ")[0]
    is_own = function.partition(":")[0] in _BACKENDS  # or a path of one: torch:fused
    return _OWN if is_own else function.partition(":" if ":" in function else ".")[0]


def _box(number: int, each: Column, *, is_ticked: bool) -> Markup:
    ticked = "" if is_ticked else None
    box = element("input", type="checkbox", autocomplete="off", id=f"show-{number}", value=each.name, checked=ticked)
    return element("label", box, code(each.name))
