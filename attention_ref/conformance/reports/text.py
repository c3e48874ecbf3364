"""A report as text: verdict, clauses, what is unsupported, failures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from attention_ref.conformance.check_results import CheckResults
from attention_ref.conformance.clause_verdicts import CONFORMS, FAILS, ClauseVerdict
from attention_ref.conformance.outcome import PASSED, UNSUPPORTED, Result
from attention_ref.conformance.reports import formatting, summary
from attention_ref.conformance.reports.matrix import Column

_COLOURS = {CONFORMS: "32", FAILS: "31", UNSUPPORTED: "33"}
Paint = Callable[[str, str], str]


def write(report: CheckResults, *, colour: bool = False) -> str:
    """Write a report as text.

    Arguments:
        report: the outcome of a check.
        colour: whether a terminal reads it.
    """
    paint = _painted if colour else _plain
    parts = [_summary(report, paint), _table(report, paint), _unsupported(report)]
    parts += [_known_failures(report), _failures(report)]
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


def _summary(report: CheckResults, paint: Paint) -> list[str]:
    verdict = summary.verdict(report)
    painted = paint(verdict, CONFORMS if report.passed else FAILS)
    headline = f"{summary.name(report)} {painted}{summary.headline(report).removeprefix(verdict)}"
    return [headline, *(f"  {line}" for line in summary.summary(report))]


def _table(report: CheckResults, paint: Paint) -> list[str]:
    width = max((len(verdict.id) for verdict in report.clauses), default=0)
    lines = [f"  {'clause':{width}}  {'verdict':11}  {'cases run':>12}  worst error / budget"]
    for verdict in sorted(report.clauses, key=lambda each: each.is_optional):
        word = paint(f"{verdict.verdict:11}", verdict.verdict)
        share = "" if verdict.share is None else formatting.share(verdict.share)
        note = "; ".join(summary.notes(verdict, report))
        lines.append(f"  {verdict.id:{width}}  {word}  {_ran(verdict):>12}  {share:8}  {note}".rstrip())
    return lines


def _ran(verdict: ClauseVerdict) -> str:
    return str(verdict.ran) if verdict.ran == verdict.cases else f"{verdict.ran} of {verdict.cases}"


def _unsupported(report: CheckResults) -> list[str]:
    gaps = summary.gaps(report)
    width = max((len(str(gap.cases)) for gap in gaps), default=0)
    lines = [f"  {' ' * (width - len(str(gap.cases)))}{gap}" for gap in gaps]
    return ["Unsupported: neither passed nor failed", *lines] if lines else []


def _known_failures(report: CheckResults) -> list[str]:
    """Write the known failures of a report with their reasons, and what passes although it is known to fail."""
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
    """Write one failure: the case, what it hunts, what is wrong, how to run it again."""
    case = result.case
    apart = "" if report.decides(result) else "optional: "
    yield f"{apart}{case.id} in {result.dtype}" + (f" ({', '.join(case.clauses)})" if case.clauses else "")
    yield f"  hunts: {case.hunts}" + (f"; seen: {', '.join(case.seen)}" if case.seen else "")
    yield from (f"  {line}" for line in formatting.found(result))
    if result.warnings:
        yield f"  it warned: {'; '.join(result.warnings[:3])}"
    yield f"  reproduce: {report.reproduce(case.id, result.dtype)}"
