"""The section of subjects: verdict, failures, clauses, unsupported cases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from attention_ref.conformance.check_results import CheckResults
from attention_ref.conformance.clause_verdicts import ClauseVerdict
from attention_ref.conformance.reports import formatting, matrix, summary
from attention_ref.conformance.reports.html.elements import (
    Content,
    Markup,
    anchor,
    code,
    element,
    folded,
    join,
    link,
    table,
    terms,
)
from attention_ref.conformance.reports.html.sentence import sentence
from attention_ref.conformance.reports.matrix import Column
from attention_ref.spec.dtypes import DTYPES

if TYPE_CHECKING:
    from attention_ref.conformance.outcome import Result


def place(each: Column, clause: str = "") -> str:
    """Return the HTML id of a subject, or of its row for a clause."""
    return anchor("subject", each.name, *([clause] if clause else []))


def failure_place(each: Column, result: Result) -> str:
    """Return the HTML id of a failure."""
    return anchor("failure", each.name, result.case.id, result.dtype)


def section(columns: Sequence[Column]) -> Markup:
    """Write a section for every subject with a report."""
    shown = [each for each in columns if each.report]
    parts = (_subject(each, each.report, is_only=len(shown) == 1) for each in shown if each.report)
    return element("section", element("h2", "Subjects"), parts, id="subjects")


def _subject(each: Column, report: CheckResults, *, is_only: bool) -> Markup:
    symbol = matrix.SYMBOLS[matrix.ALL if report.passed else matrix.BAD]
    mark = element("span", symbol, class_="all" if report.passed else "bad")
    verdict = element("p", mark, " ", sentence(report), ".", class_="verdict")
    version = element("small", each.version) if each.version else None
    return element(
        "article",
        element("h3", each.name, " ", version),
        element("p", each.what, class_="note") if each.what else None,
        verdict,
        element("ul", (element("li", line) for line in (summary.headline(report), *summary.summary(report)))),
        _failures(each, report),
        folded("By clause", _clauses(each, report), is_open=is_only),
        _gaps(report),
        _answers(each),
        class_="subject",
        id=place(each),
    )


def _answers(each: Column) -> Markup | None:
    """Write all that a subject answered, in full."""
    lines = terms(each.answers.items(), class_="told")
    return folded("What it computes", element("div", lines, id=anchor("answers", each.name))) if each.answers else None


def _failures(each: Column, report: CheckResults) -> Markup | None:
    shown = summary.telling(report)
    rest = [result for result in report.failures if result not in shown]
    if not shown:
        return None
    title = element("h4", "A failure of every failing clause")
    others = folded(
        f"{formatting.count(len(rest), 'more failure')}, one for each case and dtype", _list(each, report, rest)
    )
    return join(title, (_failure(each, report, result) for result in shown), others if rest else None)


def _failure(each: Column, report: CheckResults, result: Result) -> Markup:
    case = result.case
    apart = "" if report.decides(result) else ", optional"
    items = [
        ("catches", case.catches),
        ("references", ", ".join(case.references)),
        ("clauses", clause_links(case.clauses)),
        *_numbers(result),
        ("it warned", "; ".join(result.warnings)),
    ]
    return element(
        "article",
        element("h5", link(anchor("case", case.id), code(case.id)), f" in {result.dtype}{apart}"),
        terms(items),
        element("pre", element("code", report.reproduce(case.id, result.dtype)), tabindex="0"),
        class_="failure",
        id=failure_place(each, result),
    )


def _numbers(result: Result) -> list[tuple[str, Content]]:
    found, digits = result.mismatch, DTYPES[result.dtype].digits
    if found is None:
        return [("what", result.reason), ("where", element("code", result.where) if result.where else None)]
    where = f"{formatting.place(found)}{', the first intermediate that differs' if found.is_tap else ''}"
    return [
        ("where", element("code", where)),
        ("expected", element("code", f"{found.expected:.{digits}g}")),
        ("got", element("code", f"{found.got:.{digits}g}")),
        ("error", f"{formatting.error(found).removeprefix('error ')}; {found.off} of {found.size} numbers are off"),
    ]


def _list(each: Column, report: CheckResults, results: Sequence[Result]) -> Markup:
    """List failures, one line each."""
    head = ("case", "dtype", "expected", "got", "error / budget", "reproduce")
    return table(f"Failures of {each.name}", head, (_line(each, report, result) for result in results), class_="lines")


def _line(each: Column, report: CheckResults, result: Result) -> Markup:
    case, found, digits = result.case, result.mismatch, DTYPES[result.dtype].digits
    error_ratio = "" if result.error_ratio is None else formatting.ratio(result.error_ratio).replace("inf", "∞")
    numbers = (f"{found.expected:.{digits}g}", f"{found.got:.{digits}g}", error_ratio) if found else ()
    cells = (element("td", text) for text in numbers) if found else element("td", result.reason, colspan="3")
    line = element("td", element("code", report.reproduce(case.id, result.dtype)))
    name = element("th", link(anchor("case", case.id), case.id), scope="row")
    return element("tr", name, element("td", result.dtype), cells, line, id=failure_place(each, result))


def _clauses(each: Column, report: CheckResults) -> Markup:
    ordered = sorted(report.clauses, key=lambda verdict: verdict.is_optional)
    head = ("clause", "verdict", "cases run", "worst error / budget", "")
    return table(
        f"Clauses of {each.name}", head, (_clause(each, report, verdict) for verdict in ordered), class_="lines"
    )


def _clause(each: Column, report: CheckResults, verdict: ClauseVerdict) -> Markup:
    kind = matrix.kind(verdict)
    error_ratio = "" if verdict.error_ratio is None else formatting.ratio(verdict.error_ratio).replace("inf", "∞")
    cells = f"{matrix.SYMBOLS[kind]} {kind}", f"{verdict.ran} of {verdict.cases}", error_ratio
    note = element("td", "; ".join(summary.notes(verdict, report)), class_="text")
    name = element("th", link(anchor("clause", verdict.id), verdict.id), scope="row")
    return element("tr", name, (element("td", text) for text in cells), note, id=place(each, verdict.id))


def _gaps(report: CheckResults) -> Markup | None:
    gaps = summary.gaps(report)
    found = element("ul", (element("li", str(gap)) for gap in gaps))
    return folded("Unsupported: neither passed nor failed", found) if gaps else None


def clause_links(names: Sequence[str]) -> Content:
    """Link to clauses, with commas between."""
    links = [link(anchor("clause", name), code(name)) for name in names]
    return [piece for each in links for piece in (", ", each)][1:]
