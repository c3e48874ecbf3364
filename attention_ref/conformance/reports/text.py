"""A report as text: what the subject computes, findings, clauses, and at length what is unsupported and failures."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Sequence

from attention_ref.conformance.check_results import CheckResults
from attention_ref.conformance.clause_verdicts import CONFORMS, FAILS, ClauseVerdict
from attention_ref.conformance.outcome import PASSED, UNSUPPORTED, Result
from attention_ref.conformance.reports import formatting, summary
from attention_ref.conformance.reports.findings import computes, findings
from attention_ref.conformance.reports.matrix import Column

_MOST_FINDINGS = 10
_LONGEST = 160
_COLOURS = {CONFORMS: "32", FAILS: "31", UNSUPPORTED: "33"}
Paint = Callable[[str, str], str]


def write(report: CheckResults, *, colour: bool = False, verbose: bool = True, quiet: bool = False) -> str:
    """Write a report as text.

    Arguments:
        report: the outcome of a check.
        colour: whether a terminal reads it.
        verbose: whether it goes on after the table: what is unsupported, and a failure of every failing clause.
        quiet: whether the verdict is all.
    """
    paint = _painted if colour else _plain
    headline = _headline(report, paint)
    if quiet:
        return headline
    parts = [_first(report, headline), _findings(report)]
    parts += [_summary(report)] if report.failures else []
    parts += [_table(report, paint)]
    parts += [_unsupported(report)] if verbose else []
    parts += [_known_failures(report)]
    parts += [_failures(report)] if verbose else []
    parts += [_last(report, headline, verbose=verbose)] if report.failures else []
    return "\n\n".join("\n".join(lines) for lines in parts if lines)


def matrix(columns: Sequence[Column]) -> str:
    """Write a line for every subject: verdict, counts, and the clauses to blame, or why it has no report."""
    width = max((len(each.name) for each in columns), default=0)
    return "\n".join(f"{each.name:{width}}  {_line(each)}" for each in columns)


def _line(each: Column) -> str:
    if each.report is None:
        return f"{'-':15}  {each.trouble}"
    first, *_ = summary.summary(each.report)
    blamed = ", ".join(clause.id for clause in summary.culprits(each.report))
    version = f"; version {each.version}" if each.version else ""
    return f"{summary.verdict(each.report):15}  {first}{f'; look at {blamed}' if blamed else ''}{version}"


def _plain(word: str, _: str) -> str:
    return word


def _painted(word: str, verdict: str) -> str:
    return f"\033[{_COLOURS[verdict]}m{word}\033[0m"


def _headline(report: CheckResults, paint: Paint) -> str:
    verdict = summary.verdict(report)
    painted = paint(verdict, CONFORMS if report.passed else FAILS)
    return f"{summary.name(report)} {painted}{summary.headline(report).removeprefix(verdict)}"


def _first(report: CheckResults, headline: str) -> list[str]:
    """Write the verdict, what the subject computes, and what would make more of it right."""
    sentences = [computes(report), report.advice]
    lines = [headline, *(f"  {line}" for line in sentences if line)]
    if report.suggested_dialect:
        lines += ["  as a dialect, for --dialect FILE:"]
        lines += [f"      {line}".rstrip() for line in report.suggested_dialect.splitlines()]
    return lines if report.failures else [*lines, *_summary(report)]


def _findings(report: CheckResults) -> list[str]:
    found = findings(report)
    lines = ["Findings"] if found else []
    for number, each in enumerate(found[:_MOST_FINDINGS], start=1):
        many = formatting.count(len(each.cases), "case")
        lines += [f"{number:4}. {each.sentence} ({each.clause}, {many})"]
        lines += [f"      correct: {each.correction}"]
        lines += (
            [f"      for example {textwrap.shorten(each.example, _LONGEST, placeholder=' ...')}"]
            if each.example
            else []
        )
    rest = len(found) - _MOST_FINDINGS
    return [*lines, f"      and {rest} more, in --json"] if rest > 0 else lines


def _last(report: CheckResults, headline: str, *, verbose: bool) -> list[str]:
    """Repeat the verdict, with the option that shows more."""
    shown = summary.telling(report)
    if verbose or not shown:
        return [headline]
    more = "--verbose shows what is unsupported and a failure of every failing clause"
    return [headline, f"  {more}", f"  reproduce: {report.reproduce(shown[0].case.id, shown[0].dtype)}"]


def _summary(report: CheckResults) -> list[str]:
    return [f"  {line}" for line in summary.summary(report)]


def _table(report: CheckResults, paint: Paint) -> list[str]:
    width = max((len(verdict.id) for verdict in report.clauses), default=0)
    lines = [f"  {'clause':{width}}  {'verdict':11}  {'cases run':>12}  worst error / budget"]
    for verdict in sorted(report.clauses, key=lambda each: each.is_optional):
        word = paint(f"{verdict.verdict:11}", verdict.verdict)
        error_ratio = "" if verdict.error_ratio is None else formatting.ratio(verdict.error_ratio)
        note = "; ".join(summary.notes(verdict, report))
        lines.append(f"  {verdict.id:{width}}  {word}  {_ran(verdict):>12}  {error_ratio:8}  {note}".rstrip())
    return lines


def _ran(verdict: ClauseVerdict) -> str:
    return str(verdict.ran) if verdict.ran == verdict.cases else f"{verdict.ran} of {verdict.cases}"


def _unsupported(report: CheckResults) -> list[str]:
    gaps = summary.gaps(report)
    width = max((len(str(gap.cases)) for gap in gaps), default=0)
    lines = [f"  {' ' * (width - len(str(gap.cases)))}{gap}" for gap in gaps]
    return ["Unsupported: neither passed nor failed", *lines] if lines else []


def _known_failures(report: CheckResults) -> list[str]:
    """Write the known failures of a report with their reasons, and those that passed (XPASS)."""
    failed: dict[str, set[str]] = {}
    for result in report.failures:
        if result.known:
            failed.setdefault(result.known, set()).add(result.case.id)
    lines = ["Known failures"] if failed else []
    lines += [f"  {len(cases):4} case{'s' * (len(cases) != 1)}: {reason}" for reason, cases in failed.items()]
    passed = [result for result in report.results if result.known and result.verdict == PASSED]
    lines += ["Known to fail, but passing"] if passed else []
    return lines + [f"  {result.case.id} in {result.dtype}: {result.known}" for result in passed]


def _failures(report: CheckResults) -> list[str]:
    """Show the most telling failure of every failing clause."""
    shown = summary.telling(report)
    lines = ["Failures"] if shown else []
    for result in shown:
        lines += [f"  {line}" for line in failure(report, result)]
    if left := sum(not result.known for result in report.failures) - len(shown):
        lines.append(f"  and {left} more, one for each case and dtype, in --json and report.failures")
    return lines


def failure(report: CheckResults, result: Result) -> Iterator[str]:
    """Write one failure: the case, the bug that it catches, the mismatch, and the command that reproduces it."""
    case = result.case
    apart = "" if report.decides(result) else "optional: "
    yield f"{apart}{case.id} in {result.dtype}" + (f" ({', '.join(case.clauses)})" if case.clauses else "")
    yield f"  catches: {case.catches}" + (f"; references: {', '.join(case.references)}" if case.references else "")
    yield from (f"  {line}" for line in formatting.found(result))
    if result.warnings:
        yield f"  it warned: {'; '.join(result.warnings[:3])}"
    yield f"  reproduce: {report.reproduce(case.id, result.dtype)}"
