"""The matrix: a row for each clause, a column for each subject."""

from __future__ import annotations

from collections.abc import Sequence

from attention_ref.conformance.reports import formatting, matrix
from attention_ref.conformance.reports.html import subject_section
from attention_ref.conformance.reports.html.elements import (
    Markup,
    anchor,
    boxed,
    code,
    element,
    folded,
    join,
    link,
    terms,
)
from attention_ref.conformance.reports.html.sentence import sentence
from attention_ref.conformance.reports.matrix import Column
from attention_ref.spec.clauses import clauses

_FEW = 6
"""The number of columns up to which column names are horizontal and titles of clauses are shown."""


def section(columns: Sequence[Column]) -> Markup:
    """Write the matrix of the subjects with a report, its legend, and the reasons for missing reports."""
    shown = with_report(columns)
    left = [each for each in columns if not each.report]
    return element(
        "section",
        element("h2", "Clauses"),
        (_sentences(shown), _legend(), _table(shown)) if shown else element("p", "Nothing was checked."),
        _left(left) if left else None,
        id="matrix",
    )


def with_report(columns: Sequence[Column]) -> list[Column]:
    """Return those that the tables show."""
    return [each for each in columns if each.report]


def head(columns: Sequence[Column], first: str) -> Markup:
    """Write the first row of a table: what its rows are, and the name of each subject."""
    return element("tr", element("th", first, scope="col"), (_name(each) for each in columns))


def _sentences(columns: Sequence[Column]) -> Markup:
    lines = (
        element("li", link(subject_section.place(each), each.name), ": ", sentence(each.report))
        for each in columns
        if each.report
    )
    return element("ul", lines, class_="each")


def _table(columns: Sequence[Column]) -> Markup:
    is_wide = len(columns) > _FEW
    right = element("tr", element("th", "right on", scope="row"), (_right(each) for each in columns))
    names = matrix.rows(columns)
    shared = _shared(names)
    rows = (_row(name, name.removeprefix(shared), columns, with_title=not is_wide) for name in names)
    body = (element("tbody", right, class_="overall"), element("tbody", rows))
    table = element("table", element("thead", head(columns, "clause")), body, class_="matrix columns")
    return boxed(table, "Clauses")


def _name(each: Column) -> Markup:
    version = element("small", each.version) if each.version else None
    return element("th", link(subject_section.place(each), code(each.name)), version, scope="col")


def _right(each: Column) -> Markup:
    right, ran = each.report.right_on if each.report else (0, 0)
    text = f"{right} of {ran}"
    title = f"{each.name}: right on {text} clauses of which a case ran"
    return element("td", link(subject_section.place(each), text, title=title), class_="all" if right == ran else "bad")


def _shared(names: Sequence[str]) -> str:
    """Return the common prefix of all names, such as `attention.`."""
    groups = {name.partition(".")[0] for name in names}
    return f"{groups.pop()}." if len(groups) == 1 else ""


def _row(clause: str, name: str, columns: Sequence[Column], *, with_title: bool) -> Markup:
    known = clauses().get(clause)
    title = element("small", known.title) if known and with_title else None
    mark = element("em", "optional") if known and known.optional else None
    head = element("th", link(anchor("clause", clause), code(name)), mark, title, scope="row")
    return element("tr", head, (_cell(each, clause) for each in columns))


def _cell(each: Column, clause: str) -> Markup:
    verdict = each.verdict(clause)
    if verdict is None:
        return element("td", _aside("not checked"))
    kind = matrix.kind(verdict)
    number = element("small", matrix.number(verdict)) if matrix.number(verdict) else None
    also = f" ({formatting.listed(verdict.only_with, 'or')})" if kind == matrix.BESIDE else ""
    title = f"{each.name}, {clause}: {kind}{also}; {verdict.ran} of {verdict.cases} cases ran, {verdict.failed} failed"
    text = link(subject_section.place(each, clause), matrix.SYMBOLS[kind], _aside(kind), number, title=title)
    return element("td", text, class_=CLASSES[kind])


CLASSES = {
    matrix.ALL: "all",
    matrix.PART: "part",
    matrix.BAD: "bad",
    matrix.BESIDE: "beside",
    matrix.NONE: "none",
}
"""The CSS classes of the kinds of cells."""


def _aside(text: str) -> Markup:
    """Make text for screen readers only."""
    return element("span", f" {text} ", class_="aside")


def _legend() -> Markup:
    """Write the legend: the names of the symbols in a line, collapsed details below."""
    signs = {kind: element("span", sign, class_=CLASSES[kind]) for kind, sign in matrix.SYMBOLS.items()}
    names = element("ul", (element("li", sign, " ", kind) for kind, sign in signs.items()), class_="signs")
    meanings = terms((f"{matrix.SYMBOLS[kind]} {kind}", matrix.MEANINGS[kind]) for kind in signs)
    number = "The number is the largest error / budget: 1 is the limit; ∞ means that an exact value differs."
    return join(names, folded("Meaning of symbols and numbers", meanings, element("p", number)))


def _left(columns: Sequence[Column]) -> Markup:
    return join(element("h3", "Without a report"), element("ul", (_trouble(each) for each in columns), class_="left"))


def _trouble(each: Column) -> Markup:
    wrote = element("pre", "\n".join(each.lines), tabindex="0") if each.lines else None
    what = f", {each.what}" if each.what else ""
    return element("li", element("strong", each.name), what, ": ", each.trouble, wrote, id=subject_section.place(each))
