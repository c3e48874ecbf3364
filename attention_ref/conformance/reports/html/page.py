"""The page: head, summary, verdict and findings, and the other sections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import resources

from attention_ref.conformance.check_results import CheckResults
from attention_ref.conformance.diagnosis.finding import Finding
from attention_ref.conformance.reports import matrix, summary
from attention_ref.conformance.reports.findings import computes, findings
from attention_ref.conformance.reports.formatting import count
from attention_ref.conformance.reports.html import (
    answer_table,
    case_section,
    choice,
    clause_section,
    matrix_table,
    subject_section,
)
from attention_ref.conformance.reports.html.elements import Markup, anchor, code, element, folded, join, link, terms
from attention_ref.conformance.reports.matrix import Column

_NO_FACTS: Mapping[str, str] = {}


def write(report: CheckResults, facts: Mapping[str, str] = _NO_FACTS) -> str:
    """Write a report as a page."""
    return write_matrix([matrix.of(report)], facts, title=f"{report.subject.name}: conformance")


def write_matrix(columns: Sequence[Column], facts: Mapping[str, str], *, title: str = matrix.TITLE) -> str:
    """Write reports as a page: the matrix, conventions, subjects, clauses and cases.

    Arguments:
        columns: the subjects.
        facts: further facts for the header by name, such as versions and a date.
        title: the title of the page.
    """
    columns = _unique(columns)
    shown = matrix_table.with_report(columns)
    body = join(_header(columns, facts, title), element("main", _parts(columns)))
    return f'<!DOCTYPE html>\n<html lang="en">{_head(title, choice.style(shown))}{element("body", body)}</html>\n'


def _unique(columns: Sequence[Column]) -> list[Column]:
    """Number columns of the same name, so that link targets are unique."""
    seen: dict[str, int] = {}
    found = []
    for each in columns:
        seen[each.name] = number = seen.get(each.name, 0) + 1
        found.append(each if number == 1 else replace(each, name=f"{each.name} ({number})"))
    return found


def _head(title: str, rules: str) -> Markup:
    style = resources.files(__package__).joinpath("style.css").read_text(encoding="utf-8") + rules
    return element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("style", Markup(style)),
    )


def _header(columns: Sequence[Column], facts: Mapping[str, str], title: str) -> Markup:
    return element(
        "header",
        element("h1", title),
        element("p", _HOW_TO_READ) if any(each.answers for each in columns) else None,
        _contents(columns),
        terms(matrix.header(columns, facts), class_="facts"),
    )


_HOW_TO_READ = (
    "Blue is what the specification says, orange is something else, pale orange an error instead, and a dash is what "
    "cannot be asked or did not run; every cell leads to what is behind it."
)


def _contents(columns: Sequence[Column]) -> Markup:
    checked = matrix.rows(columns)
    names = [
        *([("findings", "Verdict and findings")] if _only(columns) else []),
        *([("answers", "What each computes")] if any(each.answers for each in columns) else []),
        ("matrix", "Matrix"),
        ("subjects", count(len(columns), "subject")),
        ("clauses", count(len(checked), "clause")),
        ("cases", count(len(case_section.of(columns)), "case")),
    ]
    return element("nav", element("ul", (element("li", link(target, text)) for target, text in names)))


def _only(columns: Sequence[Column]) -> CheckResults | None:
    """Return the report of the subject if there is only one."""
    return columns[0].report if len(columns) == 1 else None


def _first(columns: Sequence[Column]) -> Markup | None:
    """Write what a single subject computes, its findings, and the suggested dialect."""
    report = _only(columns)
    if report is None:
        return None
    dialect = folded("A dialect that describes it", element("pre", report.suggested_dialect, tabindex="0"))
    sentences = (computes(report), report.advice)
    return element(
        "section",
        element("h2", "Verdict and findings"),
        element("p", element("strong", summary.headline(report)), "."),
        (element("p", f"It {text}." if text == sentences[0] else f"{text}.") for text in sentences if text),
        dialect if report.suggested_dialect else None,
        element("ol", (_finding(each) for each in findings(report))) if report.failures else None,
        id="findings",
    )


def _finding(found: Finding) -> Markup:
    clause = link(anchor("clause", found.clause), code(found.clause))
    many = count(len(found.cases), "case")
    lines = [("correct", found.correction), ("for example", found.example)]
    return element("li", element("strong", found.sentence), " (", clause, f", {many})", terms(lines))


def _parts(columns: Sequence[Column]) -> Markup:
    shown = matrix_table.with_report(columns)
    return join(
        _first(columns),
        choice.section(shown),
        answer_table.section(shown, matrix_table.head(shown, "question")),
        matrix_table.section(columns),
        subject_section.section(columns),
        clause_section.section(columns),
        case_section.section(columns),
    )
