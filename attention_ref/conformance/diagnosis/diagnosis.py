"""Diagnosis of an attention: the smallest set of deviations from the formula that reproduces its numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from attention_ref.conformance.diagnosis import beside_numbers
from attention_ref.conformance.diagnosis.deviation_search import Combination, Search
from attention_ref.conformance.diagnosis.deviations import Deviation
from attention_ref.conformance.diagnosis.finding import Finding
from attention_ref.conformance.diagnosis.observation import Observation, observations
from attention_ref.conformance.dialects.dialect import Dialect
from attention_ref.conformance.errors import UsageError
from attention_ref.conformance.signatures import name_of
from attention_ref.conformance.subjects.base_subject import BaseSubject
from attention_ref.conformance.subjects.subject import Subject, subject_of
from attention_ref.conformance.timeouts import TIMEOUT

_DTYPES = ("float64", "float32")


@dataclass(frozen=True)
class Diagnosis:
    """The diagnosis of a function.

    Arguments:
        name, dtype: the name of the function and the dtype of the inputs.
        ran: the number of cases that ran.
        wrong: the ids of the cases with wrong results.
        findings: the deviations that together reproduce its numbers, those that explain most cases first.
        unexplained: the ids of the wrong cases that they do not reproduce, each with a note.
    """

    name: str
    dtype: str
    ran: int
    wrong: tuple[str, ...]
    findings: tuple[Finding, ...]
    unexplained: dict[str, str]

    @property
    def conforms(self) -> bool:
        """Whether at least one case ran, and every one is right."""
        return self.ran > 0 and not self.wrong and not self.findings

    def __str__(self) -> str:
        return "\n".join(_lines(self))


def diagnose(
    function: Callable[..., Any],
    *,
    arrays: str | None = None,
    dialect: Dialect | str | None = None,
    name: str | None = None,
    timeout: float | None = TIMEOUT,
) -> Diagnosis:
    """Find the mistakes that explain the numbers of an attention.

    The function runs on the cases of attention. Where it is wrong, the formula is evaluated with steps replaced by
    common mistakes, singly and together, until it reproduces the results.

        print(conformance.diagnose(my_attention))

    Arguments:
        function, arrays, dialect, name, timeout: as in `conformance.check`.

    Returns:
        `.conforms`, `.findings` and `.unexplained`; `str()` of it is a readable summary.

    Raises:
        UsageError: if the function supports none of the cases.
    """
    subject = subject_of(function, name or name_of(function), "attention", arrays, dialect)
    return diagnose_subject(replace(subject, timeout=timeout))


def diagnose_subject(subject: BaseSubject) -> Diagnosis:
    """Diagnose a subject; see `diagnose`."""
    if not isinstance(subject, Subject) or "attention" not in subject.operations:
        raise UsageError(f"{subject.name} cannot be diagnosed: it is not an attention that is called in this process")
    for dtype in _DTYPES:
        seen = list(observations(subject, dtype))
        if seen:
            return _diagnosed(subject, dtype, seen)
    raise UsageError(f"{subject.name} supports none of the cases of attention")


def _diagnosed(subject: Subject, dtype: str, seen: Sequence[Observation]) -> Diagnosis:
    wrong = [each for each in seen if not each.is_right]
    search = Search(seen)
    found = search.run() if wrong else ()
    reproduced = search.explained(found)
    findings = [_finding(search, found, each, reproduced) for each in found]
    explained = {seen[place].case.id for place in reproduced}
    findings += beside_numbers.refusals(seen, explained)
    explained |= {case for finding in findings for case in finding.cases}
    findings += _in_float32(subject, seen)
    findings.sort(key=lambda finding: -len(finding.cases))
    unexplained = {each.case.id: each.error or _mismatch(each) for each in wrong if each.case.id not in explained}
    ids = tuple(each.case.id for each in wrong)
    return Diagnosis(subject.name, dtype, len(seen), ids, tuple(findings), unexplained)


def _in_float32(subject: Subject, seen: Sequence[Observation]) -> list[Finding]:
    """Run in float32 too, to find a wrong result dtype or a lower internal precision."""
    single = seen if seen[0].dtype == "float32" else list(observations(subject, "float32"))
    right = {each.case.id for each in seen if each.is_right and each.dtype == "float64"}
    return [*beside_numbers.dtypes(single, subject.arrays), *beside_numbers.low_precision(single, right)]


def _finding(search: Search, found: Combination, deviation: type[Deviation], explained: set[int]) -> Finding:
    without = tuple(each for each in found if each is not deviation)
    needed = sorted(explained - search.explained(without))
    cases = [search.observations[place] for place in needed]
    simplest = min(cases, key=lambda each: (not each.results, len(each.case.call.named)))
    return Finding(
        deviation.slug,
        deviation.sentence(),
        deviation.clause,
        deviation.correction,
        tuple(each.case.id for each in cases),
        f"{simplest.case.id}: {_mismatch(simplest)}",
    )


def _mismatch(observation: Observation) -> str:
    """Describe the first element that is clearly wrong."""
    for name, expected in observation.case.expected.items():
        got = observation.results.get(name)
        if got is None:
            continue
        if got.shape != expected.values.shape:
            return f"{name} has the shape {got.shape} instead of {expected.values.shape}"
        off = ~np.isclose(got, expected.values, rtol=1e-6, atol=1e-12, equal_nan=True)
        if off.any():
            index = tuple(int(place) for place in np.argwhere(off)[0])
            return f"{name}{list(index)} is {got[index]:.6g} instead of {expected.values[index]:.6g}"
    return "rounding errors beyond the budget"


def _lines(diagnosis: Diagnosis) -> list[str]:
    ran = f"{diagnosis.ran} cases in {diagnosis.dtype}"
    if diagnosis.conforms:
        return [f"{diagnosis.name} computes softmax(scale q k^T) v as specified, in all of {ran}"]
    explained = len(diagnosis.wrong) - len(diagnosis.unexplained)
    lines = [f"{diagnosis.name} is wrong in {len(diagnosis.wrong)} of {ran}; {_counted(diagnosis, explained)}"]
    for finding in diagnosis.findings:
        lines += ["", f"{finding.deviation}: {finding.sentence}", f"  correct: {finding.correction}"]
        lines += [f"  clause {finding.clause}, {len(finding.cases)} case{'s' * (len(finding.cases) != 1)}"]
        lines += [f"  for example {finding.example}"] if finding.example else []
    if diagnosis.unexplained:
        lines += ["", "No known deviation gives these numbers:"]
        shown = list(diagnosis.unexplained.items())[:5]
        lines += [f"  {case}: {text}" for case, text in shown]
        rest = len(diagnosis.unexplained) - len(shown)
        lines += [f"  and {rest} more"] if rest else []
    return lines


def _counted(diagnosis: Diagnosis, explained: int) -> str:
    count = len(diagnosis.findings)
    if not count:
        return "no known deviation explains it"
    what = "1 deviation" if count == 1 else f"{count} deviations"
    return (
        f"{what} explain{'s' * (count == 1)} {'all of them' if not diagnosis.unexplained else f'{explained} of them'}"
    )
