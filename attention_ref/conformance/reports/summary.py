"""The summary of a report: counts, where to look first, representative failures, and what is unsupported."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from attention_ref.conformance.check_results import CheckResults
from attention_ref.conformance.clause_verdicts import FAILS, ClauseVerdict, verdicts_of_cases
from attention_ref.conformance.outcome import FAILED, PASSED, UNSUPPORTED, Result
from attention_ref.conformance.profiles import LEVELS
from attention_ref.conformance.reports.formatting import count, listed, ratio
from attention_ref.spec.clauses import clauses

_MOST_NAMES = 4


@dataclass(frozen=True)
class Gap:
    """Why some cases did not run: the reason, how many cases, and the dtypes where it does not hold in all."""

    reason: str
    cases: int
    dtypes: tuple[str, ...]

    def __str__(self) -> str:
        return f"{count(self.cases, 'case')}{f' in {listed(self.dtypes)}' if self.dtypes else ''}: {self.reason}"


def name(report: CheckResults) -> str:
    """Return the name and the version of the subject."""
    return " ".join(filter(None, (report.subject.name, report.subject.version)))


def headline(report: CheckResults) -> str:
    """Return the verdict as one line, without the name."""
    deciding = [result for result in report.results if report.decides(result)]
    ran = dtypes_run(deciding, report)
    where = f" in {listed(ran)}" if ran else ": nothing ran"
    is_partial = report.passed and UNSUPPORTED in verdicts_of_cases(deciding).values()
    limit = ", in what it supports" if is_partial else ""
    return f"{verdict(report)} to specification {report.spec}{where}{limit}"


def verdict(report: CheckResults) -> str:
    """Return the verdict in words."""
    return "conforms" if report.passed else "does not conform"


def dtypes_run(results: Sequence[Result], report: CheckResults) -> list[str]:
    """Return the dtypes in which something ran."""
    ran = {result.dtype for result in results if result.verdict != UNSUPPORTED}
    return [dtype for dtype in report.dtypes if dtype in ran]


def summary(report: CheckResults) -> Iterator[str]:
    """Return the lines after the headline: counts, the level, where to look first."""
    deciding = [result for result in report.results if report.decides(result)]
    optional = [result for result in report.results if not report.decides(result)]
    yield counts(deciding)
    yield from _by_dtype(deciding, report)
    if reached := level(report):
        yield reached
    if first := culprits(report):
        yield f"look first at: {', '.join(_blamed(clause) for clause in first)}"
    ran = dtypes_run(deciding, report)
    if report.passed and (left_out := [dtype for dtype in report.dtypes if dtype not in ran]):
        yield f"nothing ran in {listed(left_out)}"
    if optional:
        yield f"optional, not decisive: {counts(optional)}"


def _by_dtype(results: Sequence[Result], report: CheckResults) -> Iterator[str]:
    """Count the cases of each dtype, if there are several dtypes and one fails."""
    if len(report.dtypes) < 2 or all(each.verdict != FAILED for each in results):
        return
    for dtype in report.dtypes:
        mine = [each for each in results if each.dtype == dtype and each.verdict != UNSUPPORTED]
        failed = sum(each.verdict == FAILED for each in mine)
        off = sum(each.fails_by_dtype for each in mine)
        alone = f", {off} of them for the dtype of the result alone" if off else ""
        if mine:
            yield f"{dtype}: {len(mine) - failed} passed, {failed} failed{alone}"


def level(report: CheckResults) -> str:
    """Describe the level that was reached and what the next one lacks; empty if too little was run."""
    found = report.level
    if found is None:
        return ""
    lacks = f"; for {LEVELS[found.number].name} it lacks {listed(found.lacks)}" if found.lacks else ""
    name = f" ({found.name})" if found.number else ""
    values = ", by its values" if found.number and any(each.fails_by_dtype for each in report.results) else ""
    return f"level {found.number} of {len(LEVELS)}{name}{values}{lacks}"


def _blamed(clause: ClauseVerdict) -> str:
    return f"{clause.id} ({clause.failed} of {count(clause.ran, 'case')} failed)"


def culprits(report: CheckResults) -> list[ClauseVerdict]:
    """Return the clauses that fail and decide and whose failures are not all cases of others that fail more often.

    Those with the most failures come first. If a foundation fails, other clauses cannot be distinguished from it.
    """
    deciding = [clause for clause in report.clauses if report.binds_optional or not clause.is_optional]
    blamed = [clause for clause in deciding if clause.verdict == FAILS and not clause.only_with]
    blamed = [clause for clause in blamed if _is_foundation(clause)] or blamed
    return sorted(blamed, key=lambda clause: -clause.failed)


def _is_foundation(clause: ClauseVerdict) -> bool:
    return clause.id in clauses() and clauses()[clause.id].foundation


def counts(results: Sequence[Result]) -> str:
    """Count cases by verdict."""
    verdicts = list(verdicts_of_cases(results).values())
    numbers = [f"{verdicts.count(name)} {name}" for name in (PASSED, FAILED, UNSUPPORTED)]
    names = dict.fromkeys(result.case.operation for result in results)
    operations = listed(names) if len(names) <= _MOST_NAMES else f"{len(names)} operations"
    ratios = [result.error_ratio for result in results if result.verdict == PASSED and result.error_ratio is not None]
    worst = f"; worst error {ratio(max(ratios))} of its budget" if ratios and verdicts.count(FAILED) == 0 else ""
    return f"{count(len(verdicts), 'case')} of {operations}: {', '.join(numbers)}{worst}"


def gaps(report: CheckResults) -> list[Gap]:
    """Return every reason why cases did not run, the most frequent first."""
    cases: dict[str, dict[str, set[str]]] = {}
    for result in report.results:
        if result.verdict == UNSUPPORTED:
            for reason in [f"no argument {name}" for name in result.lacking] or [result.reason]:
                cases.setdefault(reason, {}).setdefault(result.case.id, set()).add(result.dtype)
    gaps = []
    for reason, by_case in sorted(cases.items(), key=lambda item: -len(item[1])):
        seen = set().union(*by_case.values())
        is_everywhere = len(seen) > 1 or seen == set(report.dtypes)
        gaps.append(Gap(reason, len(by_case), () if is_everywhere else tuple(seen)))
    return gaps


def telling(report: CheckResults) -> list[Result]:
    """Return a representative failure of every failing clause: the case with the fewest clauses."""
    wrong = [result for result in report.failures if not result.known]
    ordered = sorted(wrong, key=lambda result: (result.case.is_optional, len(result.case.clauses)))
    chosen: dict[tuple[str, str], Result] = {}
    for clause in sorted(report.clauses, key=lambda each: bool(each.only_with)):
        own = [each for each in ordered if clause.is_optional == each.case.is_optional]
        stated = [each for each in own if clause.id in each.case.clauses]
        is_covered = any(clause.id in each.case.clauses for each in chosen.values() if each in own)
        if own and clause.verdict == FAILS and not is_covered:
            result = (stated or own)[0]
            chosen[result.case.id, result.dtype] = result
    return sorted(chosen.values(), key=report.decides, reverse=True)


def notes(clause: ClauseVerdict, report: CheckResults) -> Iterator[str]:
    """Describe the limits of a verdict on a clause."""
    if clause.is_optional:
        yield "optional, decisive here" if report.binds_optional else "optional"
    if clause.verdict == FAILS:
        also = f", all of them cases of {listed(clause.only_with, 'or')} too" if clause.only_with else ""
        yield f"{clause.failed} failed{also}"
        if clause.id in report.remarks:
            yield report.remarks[clause.id]
    if clause.verdict == UNSUPPORTED:
        yield " | ".join(clause.reasons[:2]) + (" | ..." if len(clause.reasons) > 2 else "")
