"""The matrix, with a row for each clause and a column for each subject, and the table of conventions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from attention_ref.conformance.reports import formatting, matrix, summary
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
from attention_ref.conformance.reports.matrix import Column
from attention_ref.spec.clauses import clauses

_FEW = 6
"""The number of columns up to which column names are horizontal and titles of clauses are shown."""


def section(columns: Sequence[Column]) -> Markup:
    """Write the matrix of the subjects with a report, its legend, and the reasons for missing reports."""
    shown = [each for each in columns if each.report]
    left = [each for each in columns if not each.report]
    return element(
        "section",
        element("h2", "Matrix"),
        (_legend(), _table(shown)) if shown else element("p", "Nothing was checked."),
        _left(left) if left else None,
        id="matrix",
    )


def _table(columns: Sequence[Column]) -> Markup:
    is_wide = len(columns) > _FEW
    head = element("tr", element("th", "clause", scope="col"), (_name(each) for each in columns))
    overall = element("tr", element("th", "overall", scope="row"), (_overall(each) for each in columns))
    names = matrix.rows(columns)
    shared = _shared(names)
    rows = (_row(name, name.removeprefix(shared), columns, with_title=not is_wide) for name in names)
    body = (element("tbody", overall, class_="overall"), element("tbody", rows))
    return boxed(
        element("table", element("thead", head), body, class_="matrix wide" if is_wide else "matrix"), "Matrix"
    )


def _name(each: Column) -> Markup:
    text = element("span", each.name), element("small", each.version) if each.version else None
    return element("th", link(subject_section.place(each), text), scope="col")


def _overall(each: Column) -> Markup:
    has_passed = bool(each.report and each.report.passed)
    symbol = matrix.SYMBOLS[matrix.ALL if has_passed else matrix.BAD]
    word = summary.verdict(each.report) if each.report else ""
    text = link(subject_section.place(each), symbol, _aside(word), title=f"{each.name} {word}")
    return element("td", text, class_="all" if has_passed else "bad")


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


def answers(columns: Sequence[Column]) -> Markup | None:
    """Write the conventions: a row for each question, a column for each subject with answers."""
    asked = [each for each in columns if each.answers]
    if not asked:
        return None
    head = element("tr", element("th", "question", scope="col"), (_name(each) for each in asked))
    rows = (_answer_row(question, asked) for question in matrix.questions(asked))
    table = element("table", element("thead", head), element("tbody", rows), class_="answers")
    return element("section", element("h2", "What each computes"), boxed(table, "What each computes"), id="answers")


def _answer_row(question: str, columns: Sequence[Column]) -> Markup:
    return element("tr", element("th", question, scope="row"), _answer_cells(question, columns))


def _answer_cells(question: str, columns: Sequence[Column]) -> Iterator[Markup]:
    for each in columns:
        yield element("td", each.answers.get(question))
