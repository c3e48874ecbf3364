"""The matrix: a row for each clause, a column for each subject; and what each computes."""

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
"""Up to so many columns there is room for names that lie and for the clauses' titles."""


def section(columns: Sequence[Column]) -> Markup:
    """Write the matrix of those that have a report, its legend, and why the others have none."""
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
    """Give what all names begin with, such as `attention.`."""
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
    told = f"{each.name}, {clause}: {kind}{also}; {verdict.ran} of {verdict.cases} cases ran, {verdict.failed} failed"
    text = link(subject_section.place(each, clause), matrix.SYMBOLS[kind], _aside(kind), number, title=told)
    return element("td", text, class_=CLASSES[kind])


CLASSES = {
    matrix.ALL: "all",
    matrix.PART: "part",
    matrix.BAD: "bad",
    matrix.BESIDE: "beside",
    matrix.NONE: "none",
}
"""The look of a kind of cell."""


def _aside(text: str) -> Markup:
    """Give words for those who cannot see a symbol."""
    return element("span", f" {text} ", class_="aside")


def _legend() -> Markup:
    """Write what the signs mean: their names in a line, and more under it."""
    signs = {kind: element("span", sign, class_=CLASSES[kind]) for kind, sign in matrix.SYMBOLS.items()}
    names = element("ul", (element("li", sign, " ", kind) for kind, sign in signs.items()), class_="signs")
    meanings = terms((f"{matrix.SYMBOLS[kind]} {kind}", matrix.MEANINGS[kind]) for kind in signs)
    number = "The number is the worst error as a share of its budget: 1 is the limit, ∞ is what an exact number missed."
    return join(names, folded("What the signs and the numbers mean", meanings, element("p", number)))


def _left(columns: Sequence[Column]) -> Markup:
    return join(element("h3", "Without a report"), element("ul", (_trouble(each) for each in columns), class_="left"))


def _trouble(each: Column) -> Markup:
    wrote = element("pre", "\n".join(each.lines), tabindex="0") if each.lines else None
    what = f", {each.what}" if each.what else ""
    return element("li", element("strong", each.name), what, ": ", each.trouble, wrote, id=subject_section.place(each))


def answers(columns: Sequence[Column]) -> Markup | None:
    """Write what each computes: a row for each question, a column for each subject that answers."""
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
