"""The findings at the top of a report: what a subject computes, and its deviations, the most important first."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from attention_ref.conformance.case_heads import foundations
from attention_ref.conformance.check_results import CheckResults, base
from attention_ref.conformance.clause_verdicts import FAILS, ClauseVerdict
from attention_ref.conformance.diagnosis.finding import Finding
from attention_ref.conformance.outcome import PRECISION, UNSUPPORTED, Result
from attention_ref.conformance.profiles import is_plain
from attention_ref.conformance.reports import formatting
from attention_ref.conformance.reports.formatting import count, listed, ratio
from attention_ref.spec.clauses import clauses
from attention_ref.spec.dtypes import DTYPES

_LONGEST = 160
"""The characters of a reason in a sentence."""
FORMULA = "softmax(q k^T / sqrt(d)) v"


def computes(report: CheckResults) -> str:
    """Describe what an attention computes in a plain call, and its accuracy by dtype; empty if no plain call ran."""
    plain = [each for each in report.results if is_plain(each.case) and each.verdict != UNSUPPORTED]
    by_dtype = {dtype: [each for each in plain if each.dtype == dtype] for dtype in report.dtypes}
    by_dtype = {dtype: results for dtype, results in by_dtype.items() if results}
    right = [dtype for dtype, results in by_dtype.items() if all(each.has_right_values for each in results)]
    if not by_dtype:
        return ""
    if not right:
        wrong = sum(not each.has_right_values for each in plain)
        return f"does not compute {FORMULA}: {wrong} of {len(plain)} plain calls are wrong"
    parts = [_precision(report, [dtype for dtype in right if not _returned(by_dtype[dtype])])]
    parts += [
        f"{dtype}: values right, dtype wrong ({_returned(by_dtype[dtype])})"
        for dtype in right
        if _returned(by_dtype[dtype])
    ]
    parts += [f"{dtype} wrong in {_wrong(results)}" for dtype, results in by_dtype.items() if dtype not in right]
    return f"computes {FORMULA}; {'; '.join(filter(None, parts))}"


def _precision(report: CheckResults, dtypes: Sequence[str]) -> str:
    """Describe the largest error of the right results in some dtypes, divided by its budget."""
    ratios = [
        each.error_ratio
        for each in report.results
        if each.dtype in dtypes and each.has_right_values and each.error_ratio is not None
    ]
    return f"{listed(dtypes)} within {ratio(max(ratios))} of the budget" if ratios else ""


def _returned(results: Sequence[Result]) -> str:
    return next((each.wrong_dtype for each in results if each.wrong_dtype), "")


def _wrong(results: Sequence[Result]) -> str:
    return f"{sum(not each.has_right_values for each in results)} of {count(len(results), 'plain call')}"


def findings(report: CheckResults) -> list[Finding]:
    """Return what is wrong, most important first: the common mistakes that reproduce the numbers, or else clauses."""
    wrong = [each for each in report.failures if not each.known]
    deciding = [each for each in wrong if report.decides(each)] or wrong
    explained = {case for finding in report.diagnosed if not _is_of_dtype(finding) for case in finding.cases}
    refused = {finding.deviation.removeprefix("raises.") for finding in report.diagnosed} & DTYPES.keys()
    left = [each for each in deciding if not each.has_right_values and base(each.case.id) not in explained]
    left = [each for each in left if each.dtype not in refused]
    diagnosed = [_counted(each, deciding) for each in report.diagnosed]
    found = [*diagnosed, *_dtypes(report, deciding), *_by_clause(report, left)]
    return sorted(found, key=lambda each: (not each.deviation, -len(each.cases)))


def _counted(finding: Finding, wrong: Sequence[Result]) -> Finding:
    """Return a finding about the dtype of results with every case of the report, of which a diagnosis may run some."""
    if not finding.deviation.startswith("dtype."):
        return finding
    off = (each.case.id for each in wrong if each.wrong_dtype and each.dtype == finding.sentence.partition(" ")[0])
    return replace(finding, cases=tuple(dict.fromkeys([*finding.cases, *off])))


def _is_of_dtype(finding: Finding) -> bool:
    """Return whether a finding is about a dtype, and not about the values in every dtype."""
    return finding.deviation.startswith("dtype.") or finding.deviation.removeprefix("raises.") in DTYPES


def _dtypes(report: CheckResults, wrong: Iterable[Result]) -> Iterator[Finding]:
    """Find results whose dtype alone is wrong, where the diagnosis has not."""
    off = [each for each in wrong if each.wrong_dtype]
    if not off or any(finding.deviation.startswith("dtype.") for finding in report.diagnosed):
        return
    (dtype, found), _ = Counter((each.dtype, each.wrong_dtype) for each in off).most_common(1)[0]
    is_wider = DTYPES[found].precision > DTYPES[dtype].precision
    same = "; their values are right" if all(each.has_right_values for each in off) else ""
    yield Finding(
        deviation="dtype.promoted" if is_wider else "dtype.lowered",
        sentence=f"{dtype} inputs give {found} results{same}",
        clause=PRECISION if off[0].case.operation == "attention" else foundations(off[0].case.operation)[0].id,
        correction="return the dtype of the query",
        cases=tuple(dict.fromkeys(each.case.id for each in off)),
    )


def _by_clause(report: CheckResults, wrong: Sequence[Result]) -> Iterator[Finding]:
    """Assign every failure to one clause; the clause that explains most failures comes first."""
    left = list(wrong)
    for clause in _ordered(report):
        mine = [each for each in left if clause.id in each.case.clauses or _is_foundation(clause.id)]
        if mine:
            yield _of_clause(clause, mine)
        left = [each for each in left if each not in mine]


def _ordered(report: CheckResults) -> list[ClauseVerdict]:
    failing = [clause for clause in report.clauses if clause.verdict == FAILS]
    blamed = [clause for clause in failing if not clause.only_with]
    return sorted(failing, key=lambda clause: (not _is_foundation(clause.id), clause not in blamed, -clause.failed))


def _is_foundation(clause: str) -> bool:
    return clause in clauses() and clauses()[clause].foundation


def _of_clause(clause: ClauseVerdict, wrong: Sequence[Result]) -> Finding:
    simplest = min(wrong, key=lambda each: (each.mismatch is None, len(each.case.clauses), len(each.case.call.named)))
    cases = tuple(dict.fromkeys(each.case.id for each in wrong))
    title = clauses()[clause.id].title if clause.id in clauses() else clause.id
    reasons = {each.reason if each.mismatch is None else "" for each in wrong}
    why = (
        f": {textwrap.shorten(reasons.pop(), _LONGEST, placeholder=' ...')}"
        if len(reasons) == 1 and "" not in reasons
        else ""
    )
    return Finding(
        deviation="",
        sentence=f"{len(cases)} of {count(clause.ran, 'case')} fail{why}",
        clause=clause.id,
        correction=title,
        cases=cases,
        example=f"{simplest.case.id} in {simplest.dtype}: {next(formatting.found(simplest))}",
    )
