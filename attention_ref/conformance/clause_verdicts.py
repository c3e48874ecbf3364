"""The verdict on each clause, derived from the results of its cases."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from attention_ref.conformance.case import Case
from attention_ref.conformance.case_heads import foundations
from attention_ref.conformance.outcome import FAILED, PASSED, UNSUPPORTED, Result
from attention_ref.spec.clauses import clauses

CONFORMS, FAILS = "conforms", "fails"
_MOST_CULPRITS = 3
_MOST_NAMES = 4


@dataclass(frozen=True)
class ClauseVerdict:
    """The verdict on a clause.

    Arguments:
        id: the id of the clause.
        verdict: `"conforms"`, `"fails"` or, if none of its cases ran, `"unsupported"`.
        is_optional: whether an implementation may ignore the clause.
        cases, ran, failed: the number of cases that depend on it, that ran in any dtype, that failed.
        error_ratio: the largest error / budget of its numerical comparisons.
        only_with: likely root causes: every failing case also depends on one of these clauses, which fail more
            often.
        reasons: the reasons why cases were unsupported.
    """

    id: str
    verdict: str
    is_optional: bool
    cases: int
    ran: int
    failed: int
    error_ratio: float | None
    only_with: tuple[str, ...]
    reasons: tuple[str, ...]


def clause_verdicts(results: Sequence[Result]) -> list[ClauseVerdict]:
    """Return the verdict on every clause that a case depends on, in the order of the specification.

    An optional clause is judged by the cases that list it, any other clause by the cases that list no optional one.
    Every case depends on a foundation. It fails if a case fails that lists no other clause, or if no case passes:
    then the failures cannot be attributed to any other clause.
    """
    known = [*clauses(), *sorted({name for result in results for name in result.case.clauses} - set(clauses()))]
    by_clause: dict[str, list[Result]] = {name: [] for name in known}
    for result in results:
        for name in _decisive(result.case):
            by_clause[name].append(result)
    implied = {clause.id for result in results for clause in foundations(result.case.operation)}
    rates = {name: _failure_rate(found) for name, found in by_clause.items() if found and name not in implied}
    verdicts = [_verdict(name, found, rates) for name, found in by_clause.items() if found]
    if any(verdict.verdict == FAILS for verdict in verdicts if verdict.id in implied):
        return [replace(verdict, only_with=()) for verdict in verdicts]
    return verdicts


def is_optional(clause: str) -> bool:
    """Return whether an implementation may ignore a clause."""
    return clause in clauses() and clauses()[clause].optional


def verdicts_of_cases(results: Iterable[Result]) -> dict[str, str]:
    """Return a verdict per case id over all dtypes: failed if any failed, else passed if any did, else unsupported."""
    found: dict[str, set[str]] = {}
    for result in results:
        found.setdefault(result.case.id, set()).add(result.verdict)
    return {name: next(v for v in (FAILED, PASSED, UNSUPPORTED) if v in verdicts) for name, verdicts in found.items()}


def _decisive(case: Case) -> list[str]:
    """Return the clauses that a case decides: of those that it depends on, the optional ones if it has any."""
    depends = dict.fromkeys((*case.clauses, *(clause.id for clause in foundations(case.operation))))
    return [name for name in depends if is_optional(name) == case.is_optional]


def _failure_rate(results: Sequence[Result]) -> float:
    """Return the failure rate with one pass added, so that a clause with one case does not outrank one with ten."""
    verdicts = list(verdicts_of_cases(results).values())
    return verdicts.count(FAILED) / (verdicts.count(FAILED) + verdicts.count(PASSED) + 1)


def _verdict(clause: str, results: Sequence[Result], rates: Mapping[str, float]) -> ClauseVerdict:
    by_case = verdicts_of_cases(results)
    failures = [result for result in results if result.verdict == FAILED]
    has_passed = PASSED in by_case.values()
    fails = bool(failures)
    if has_passed and clause not in rates:
        fails = any(set(result.case.clauses) <= {clause} for result in failures)
    ratios = [
        result.error_ratio
        for result in results
        if result.error_ratio is not None and (fails or result.verdict == PASSED)
    ]
    return ClauseVerdict(
        id=clause,
        verdict=FAILS if fails else CONFORMS if has_passed else UNSUPPORTED,
        is_optional=is_optional(clause),
        cases=len(by_case),
        ran=sum(each != UNSUPPORTED for each in by_case.values()),
        failed=sum(each == FAILED for each in by_case.values()),
        error_ratio=max(ratios, default=None),
        only_with=_only_with(failures, clause, rates),
        reasons=_reasons([result for result in results if result.verdict == UNSUPPORTED]),
    )


def _reasons(unsupported: Sequence[Result]) -> tuple[str, ...]:
    """Return why cases did not run: the arguments missing in all of them, or else in any, and other reasons."""
    others = tuple(dict.fromkeys(result.reason for result in unsupported if not result.lacking))
    lacking = [result.lacking for result in unsupported if result.lacking]
    counts = Counter(name for names in lacking for name in names)
    shared = sorted(name for name, count in counts.items() if count == len(lacking))
    missing = ", ".join(shared) or " or ".join(name for name, _ in counts.most_common(_MOST_NAMES))
    return (f"no argument {missing}", *others) if missing else others


def _only_with(failures: Sequence[Result], clause: str, rates: Mapping[str, float]) -> tuple[str, ...]:
    """Return a few clauses that fail more often and that cover all failures of this one."""
    left = [set(result.case.clauses) for result in failures]
    chosen: list[str] = []
    while left:
        worse = {name: sum(name in listed for listed in left) for name in rates if rates[name] > rates.get(clause, 1)}
        best = max(worse, key=lambda name: (worse[name], rates[name]), default="")
        if not worse.get(best) or len(chosen) == _MOST_CULPRITS:
            return ()
        chosen.append(best)
        left = [listed for listed in left if best not in listed]
    return tuple(chosen)
