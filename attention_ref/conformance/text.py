"""A report as text."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from attention_ref.conformance.runner import FAILED, PASSED, UNSUPPORTED, Mismatch, Result
from attention_ref.conformance.verdicts import CONFORMS, FAILS, ClauseVerdict, verdicts_of_cases
from attention_ref.spec import VERSION

if TYPE_CHECKING:
    from attention_ref.conformance.report import Report

_COLOURS = {CONFORMS: "32", FAILS: "31", UNSUPPORTED: "33"}
Paint = Callable[[str, str], str]
_MOST_NAMES = 4
_DIGITS = {"float64": 17, "float32": 9, "float16": 6, "bfloat16": 5}


def write(report: Report, *, colour: bool = False) -> str:
    """Write a report: summary, clauses, what is unsupported, failures."""
    paint = _painted if colour else _plain
    parts = [_summary(report, paint), _table(report, paint), _unsupported(report), _failures(report)]
    return "\n\n".join("\n".join(lines) for lines in parts if lines)


def _plain(word: str, _: str) -> str:
    return word


def _painted(word: str, verdict: str) -> str:
    return f"\033[{_COLOURS[verdict]}m{word}\033[0m"


def _summary(report: Report, paint: Paint) -> list[str]:
    deciding = [result for result in report.results if report.decides(result)]
    optional = [result for result in report.results if not report.decides(result)]
    ran = {result.dtype for result in deciding if result.verdict != UNSUPPORTED}
    name = " ".join(filter(None, (report.subject.name, report.subject.version)))
    verdict = paint("conforms", CONFORMS) if report.passed else paint("does not conform", FAILS)
    dtypes = [dtype for dtype in report.dtypes if dtype in ran]
    where = f" in {_and(dtypes)}" if dtypes else ": nothing ran"
    limit = ", in what it supports" if report.passed and _has_unsupported(deciding) else ""
    lines = [f"{name} {verdict} to specification {VERSION}{where}{limit}", f"  {_counts(deciding)}"]
    if report.passed and (left_out := [dtype for dtype in report.dtypes if dtype not in ran]):
        lines.append(f"  nothing ran in {_and(left_out)}")
    if optional:
        lines.append(f"  optional, not decisive: {_counts(optional)}")
    return lines


def _has_unsupported(results: Sequence[Result]) -> bool:
    return UNSUPPORTED in verdicts_of_cases(results).values()


def _counts(results: Sequence[Result]) -> str:
    verdicts = list(verdicts_of_cases(results).values())
    counts = [f"{verdicts.count(name)} {name}" for name in (PASSED, FAILED, UNSUPPORTED)]
    names = dict.fromkeys(result.case.operation for result in results)
    operations = _and(names) if len(names) <= _MOST_NAMES else f"{len(names)} operations"
    shares = [result.share for result in results if result.verdict == PASSED and result.share is not None]
    worst = f"; worst error {_share(max(shares))} of its budget" if shares and verdicts.count(FAILED) == 0 else ""
    return f"{len(verdicts)} case{_s(len(verdicts))} of {operations}: {', '.join(counts)}{worst}"


def _table(report: Report, paint: Paint) -> list[str]:
    width = max((len(verdict.id) for verdict in report.clauses), default=0)
    lines = [f"  {'clause':{width}}  {'verdict':11}  {'cases run':>12}  worst error / budget"]
    for verdict in sorted(report.clauses, key=lambda each: each.is_optional):
        word = paint(f"{verdict.verdict:11}", verdict.verdict)
        share = "" if verdict.share is None else _share(verdict.share)
        note = "; ".join(_notes(verdict, report))
        lines.append(f"  {verdict.id:{width}}  {word}  {_ran(verdict):>12}  {share:8}  {note}".rstrip())
    return lines


def _ran(verdict: ClauseVerdict) -> str:
    return str(verdict.ran) if verdict.ran == verdict.cases else f"{verdict.ran} of {verdict.cases}"


def _notes(verdict: ClauseVerdict, report: Report) -> Iterator[str]:
    if verdict.is_optional:
        yield "optional" if not report.binds_optional else "optional, decisive here"
    if verdict.verdict == FAILS:
        yield f"{verdict.failed} failed"
    if verdict.only_with and verdict.verdict == FAILS:
        yield f"only together with {' or '.join(verdict.only_with)}"
    if verdict.verdict == FAILS and report.subject.dialect and (note := report.subject.dialect.note(verdict.id)):
        yield f"its dialect says: {note}"
    if verdict.verdict == UNSUPPORTED:
        yield " | ".join(verdict.reasons[:2]) + (" | ..." if len(verdict.reasons) > 2 else "")


def _unsupported(report: Report) -> list[str]:
    """Give every reason with the number of cases, and the dtypes where it does not hold in all of them."""
    cases: dict[str, dict[str, set[str]]] = {}
    for result in report.results:
        if result.verdict == UNSUPPORTED:
            for reason in [f"no argument {name}" for name in result.lacking] or [result.reason]:
                cases.setdefault(reason, {}).setdefault(result.case.id, set()).add(result.dtype)
    lines = ["Unsupported: neither passed nor failed"] if cases else []
    for reason, found in sorted(cases.items(), key=lambda item: -len(item[1])):
        seen = set().union(*found.values())
        in_dtypes = "" if len(seen) > 1 or seen == set(report.dtypes) else f" in {_and(seen)}"
        lines.append(f"  {len(found):4} case{_s(len(found))}{in_dtypes}: {reason}")
    return lines


def _failures(report: Report) -> list[str]:
    """Show the most telling failure of every failing clause, the ones with the fewest clauses first."""
    shown = _telling(report)
    lines = ["Failures"] if shown else []
    for result in shown:
        lines += [f"  {line}" for line in _failure(report, result)]
    left = len(report.failures) - len(shown)
    if left:
        lines.append(f"  and {left} more, one for each case and dtype, in --json and report.failures")
    return lines


def _telling(report: Report) -> list[Result]:
    ordered = sorted(report.failures, key=lambda result: (result.case.is_optional, len(result.case.clauses)))
    chosen: dict[tuple[str, str], Result] = {}
    for verdict in sorted(report.clauses, key=lambda each: bool(each.only_with)):
        own = [each for each in ordered if verdict.is_optional == each.case.is_optional]
        listed = [each for each in own if verdict.id in each.case.clauses]
        is_covered = any(verdict.id in each.case.clauses for each in chosen.values() if each in own)
        if verdict.verdict == FAILS and not is_covered:
            result = (listed or own)[0]
            chosen[result.case.id, result.dtype] = result
    return sorted(chosen.values(), key=report.decides, reverse=True)


def _failure(report: Report, result: Result) -> Iterator[str]:
    case = result.case
    apart = "" if report.decides(result) else "optional: "
    yield f"{apart}{case.id} in {result.dtype}" + (f" ({', '.join(case.clauses)})" if case.clauses else "")
    yield f"  hunts: {case.hunts}" + (f"; seen: {', '.join(case.seen)}" if case.seen else "")
    if result.mismatch:
        yield from (f"  {line}" for line in _mismatch(result.mismatch, _DIGITS[result.dtype]))
    else:
        yield f"  {result.reason}" + (f"\n      {result.where}" if result.where else "")
    if result.warnings:
        yield f"  it warned: {'; '.join(result.warnings[:3])}"
    yield f"  reproduce: {report.reproduce(case.id, result.dtype)}"


def _mismatch(found: Mismatch, digits: int) -> Iterator[str]:
    first = "the first intermediate that differs is " if found.is_tap else ""
    place = f"{first}{found.array}[{', '.join(map(str, found.index))}]"
    yield f"{place}: expected {found.expected:.{digits}g}, got {found.got:.{digits}g}"
    off = f"{found.off} of {found.size} numbers are off"
    if not math.isfinite(found.error):
        yield f"one of the two is not finite; {off}"
    elif found.budget == 0:
        yield f"error {found.error:.3g} where the number is exact; {off}"
    else:
        yield f"error {found.error:.3g}, {_share(found.error / found.budget)} of the budget {found.budget:.3g}; {off}"


def _share(share: float) -> str:
    if math.isinf(share):
        return "inf"
    return f"{share:.2f}" if share < 1000 else f"{share:.1e}"


def _s(count: int) -> str:
    return "" if count == 1 else "s"


def _and(words: Iterable[str]) -> str:
    *first, last = [*words] or [""]
    return f"{', '.join(first)} and {last}" if first else last
