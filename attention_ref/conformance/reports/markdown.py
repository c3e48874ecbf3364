"""Reports as Markdown: one for a pull-request comment, several as a matrix of subjects and clauses."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from attention_ref.conformance.check_results import CheckResults
from attention_ref.conformance.clause_verdicts import FAILS, ClauseVerdict
from attention_ref.conformance.outcome import Result
from attention_ref.conformance.reports import formatting, matrix, summary
from attention_ref.conformance.reports.matrix import Column

_SPECIAL = re.compile(r"([\\`*_\[\]<>|&#])")


def write(report: CheckResults) -> str:
    """Write a report for a pull-request comment: failures are visible, the rest is collapsed."""
    lines = [f"- {_text(line)}" for line in summary.summary(report)]
    failing = [verdict for verdict in report.clauses if verdict.verdict == FAILS]
    others = [verdict for verdict in report.clauses if verdict.verdict != FAILS]
    gaps = [f"- {_text(str(gap))}" for gap in summary.gaps(report)]
    parts = [
        [f"### {_mark(report)} {_name(report)} {_text(summary.headline(report))}"],
        lines,
        _clauses(failing, report) if failing else [],
        *([*_failures(report)] if failing else []),
        _folded(formatting.count(len(others), "other clause"), _clauses(others, report)) if others else [],
        _folded("Unsupported: neither passed nor failed", gaps) if gaps else [],
    ]
    return _joined(parts)


def write_matrix(columns: Sequence[Column], facts: Mapping[str, str]) -> str:
    """Write several reports: the matrix of subjects and clauses, conventions, failures, and subjects without a report.

    Arguments:
        columns: the subjects.
        facts: further facts by name, such as versions and a date.
    """
    shown = [each for each in columns if each.report]
    failing = [each for each in shown if each.report and each.report.failures]
    asked = [each for each in columns if each.answers]
    parts = [
        [f"# {matrix.TITLE}"],
        [f"- {_text(name)}: {_text(value)}" for name, value in matrix.header(columns, facts)],
        *([["## What each computes"], _answers(asked)] if asked else []),
        ["## Clauses"],
        _matrix(shown),
        [f"- {symbol} {name}: {matrix.MEANINGS[name]}" for name, symbol in matrix.SYMBOLS.items()],
        ["The number is the largest error / budget; above 1 is wrong."],
        ["## Subjects"],
        [_subject(each) for each in columns],
        *(part for each in failing for part in _failing(each)),
    ]
    return _joined(parts)


def _joined(parts: Iterable[Sequence[str]]) -> str:
    return "\n\n".join("\n".join(lines) for lines in parts if lines)


def _name(report: CheckResults) -> str:
    return f"{_code(report.subject.name)} {_text(report.subject.version)}".rstrip()


def _mark(report: CheckResults) -> str:
    return matrix.SYMBOLS[matrix.ALL if report.passed else matrix.BAD]


def _clauses(verdicts: Sequence[ClauseVerdict], report: CheckResults) -> list[str]:
    rows = []
    for verdict in verdicts:
        kind = matrix.kind(verdict)
        error_ratio = "" if verdict.error_ratio is None else formatting.ratio(verdict.error_ratio)
        note = _text("; ".join(summary.notes(verdict, report)))
        ran = f"{verdict.ran} of {verdict.cases}"
        rows.append(_row(_code(verdict.id), f"{matrix.SYMBOLS[kind]} {verdict.verdict}", ran, error_ratio, note))
    head = _row("clause", "verdict", "cases run", "worst error / budget", "")
    return [head, _row(":--", ":--", "--:", "--:", ":--"), *rows]


def _failures(report: CheckResults) -> Iterator[list[str]]:
    shown = summary.telling(report)
    for result in shown:
        case, dtype = result.case, result.dtype
        first = next(formatting.found(result))
        yield _folded(f"<code>{html.escape(case.id)}</code> in {dtype}: {html.escape(first)}", _failure(report, result))
    if left := len(report.failures) - len(shown):
        yield [f"And {left} more, one for each case and dtype."]


def _failure(report: CheckResults, result: Result) -> list[str]:
    case = result.case
    lines = [
        *formatting.found(result),
        f"catches: {case.catches}",
        *([f"references: {', '.join(case.references)}"] if case.references else []),
        *([f"clauses: {', '.join(case.clauses)}"] if case.clauses else []),
        report.reproduce(case.id, result.dtype),
    ]
    longest = max((len(run) for run in re.findall("`+", "\n".join(lines))), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}text", *lines, fence]


def _folded(summary: str, lines: Sequence[str]) -> list[str]:
    """Collapse lines under a summary, given as HTML."""
    return ["<details>", f"<summary>{summary}</summary>", "", *lines, "", "</details>"]


def _matrix(columns: Sequence[Column]) -> list[str]:
    heads = [_code(each.name) + (f"<br>{_text(each.version)}" if each.version else "") for each in columns]
    right = ["{} of {}".format(*each.report.right_on) for each in columns if each.report]
    lines = [_row("clause", *heads), _row(":--", *[":-:"] * len(columns)), _row("**right on**", *right)]
    rows = matrix.rows(columns)
    return lines + [_row(_code(row), *(_cell(each.verdict(row)) for each in columns)) for row in rows]


def _cell(verdict: ClauseVerdict | None) -> str:
    if verdict is None:
        return ""
    return f"{matrix.SYMBOLS[matrix.kind(verdict)]} {matrix.number(verdict)}".rstrip()


def _answers(columns: Sequence[Column]) -> list[str]:
    lines = [_row("question", *(_code(each.name) for each in columns)), _row(":--", *[":--"] * len(columns))]
    rows = matrix.questions(columns)
    return lines + [_row(_text(row), *(_text(each.answers.get(row, "")) for each in columns)) for row in rows]


def _subject(each: Column) -> str:
    name = f"- {_code(each.name)}" + (f", {_text(each.what)}" if each.what else "")
    if not each.report:
        return f"{name}: {_text(each.trouble)}" + "".join(f"\n  - {_code(line)}" for line in each.lines)
    version = f" {_text(each.version)}" if each.version else ""
    return f"{name}:{version} {_text(summary.headline(each.report))}; {_text(next(summary.summary(each.report)))}"


def _failing(each: Column) -> Iterator[list[str]]:
    yield [f"### {_text(each.name)}"]
    if each.report:
        yield from _failures(each.report)


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _text(text: str) -> str:
    """Escape plain text for Markdown."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def _code(text: str) -> str:
    """Return text as code, with escaped bars, which would end a table cell."""
    fence = "`" * (max((len(run) for run in re.findall("`+", text)), default=0) + 1)
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    inner = text.replace("|", r"\|")
    return f"{fence}{pad}{inner}{pad}{fence}" if text else ""
