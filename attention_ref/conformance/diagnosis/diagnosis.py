"""Diagnosis of an operation: the smallest set of deviations from the formula that reproduces its numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from attention_ref.conformance.diagnosis import beside_numbers
from attention_ref.conformance.diagnosis.deviation_search import Search
from attention_ref.conformance.diagnosis.deviations import DEVIATIONS
from attention_ref.conformance.diagnosis.finding import Finding
from attention_ref.conformance.diagnosis.findings_of_search import findings_of, mismatch
from attention_ref.conformance.diagnosis.observation import Observation, observations
from attention_ref.conformance.diagnosis.random_results import random_results
from attention_ref.conformance.diagnosis.refusals import refusals, refused_dtype
from attention_ref.conformance.dialects.dialect import Dialect
from attention_ref.conformance.errors import UsageError, reject
from attention_ref.conformance.frameworks import framework
from attention_ref.conformance.signatures import name_of
from attention_ref.conformance.subjects.base_subject import BaseSubject
from attention_ref.conformance.subjects.examined_subject import examine_subject
from attention_ref.conformance.subjects.subject import Subject, subject_of
from attention_ref.conformance.timeouts import TIMEOUT
from attention_ref.spec.operations import OPERATIONS

_DTYPES = ("float64", "float32")
_SAMPLE = 5
"""Where each shape is compiled, one of so many cases of a profile runs in float32 too."""
_LOWER = (*_DTYPES, "float16", "bfloat16")


@dataclass(frozen=True)
class Diagnosis:
    """The diagnosis of a function.

    Arguments:
        name, operation, dtype: the name of the function, what it is to compute, and the dtype of the inputs.
        ran: the number of cases that ran.
        wrong: the ids of the cases with wrong results.
        findings: the deviations that together reproduce its numbers, those that explain most cases first.
        unexplained: the ids of the wrong cases that they do not reproduce, each with a note.
    """

    name: str
    operation: str
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
    op: str = "attention",
    *,
    arrays: str | None = None,
    dialect: Dialect | str | None = None,
    name: str | None = None,
    seed: int = 0,
    timeout: float | None = TIMEOUT,
) -> Diagnosis:
    """Find the mistakes that explain the numbers of an attention, a layer or any other operation.

    The function runs on the cases of the operation. Where it is wrong, the formula is evaluated with steps replaced by
    common mistakes, singly and together, until it reproduces the results.

        print(conformance.diagnose(my_attention))
        print(conformance.diagnose(build_my_block, op="Block"))

    Arguments:
        function, op, arrays, dialect, name, seed, timeout: as in `conformance.check`.

    Returns:
        `.conforms`, `.findings` and `.unexplained`; `str()` of it is a readable summary.

    Raises:
        UsageError: if the function supports none of the cases, or cannot be called so, with what to change, see
            `conformance.PreflightError`.
    """
    if op not in OPERATIONS:
        reject("operation", op, OPERATIONS)
    subject = subject_of(function, name or name_of(function), op, arrays, dialect)
    return diagnose_subject(replace(subject, timeout=timeout), op, seed)


def diagnose_subject(subject: BaseSubject, operation: str = "attention", seed: int = 0) -> Diagnosis:
    """Diagnose an operation of a subject; see `diagnose`."""
    if not isinstance(subject, Subject) or operation not in subject.operations:
        what = f"it has no {operation}" if isinstance(subject, Subject) else "it is not called in this process"
        raise UsageError(f"{subject.name} cannot be diagnosed: {what}")
    for dtype in _DTYPES:
        seen = list(observations(subject, operation, dtype, seed))
        if operation == "attention" and not any(each.results for each in seen if _is_batched(each)):
            examine_subject(subject, dtype)
        if seen and dtype == "float64" and not any(each.results for each in seen):
            single = list(observations(subject, operation, "float32", seed))
            if any(each.results for each in single):
                return _diagnosed(subject, operation, "float32", single, seed, [refused_dtype(seen, dtype)])
        if seen:
            return _diagnosed(subject, operation, dtype, seen, seed)
    raise UsageError(f"{subject.name} supports none of the cases of {operation}")


def _is_batched(observation: Observation) -> bool:
    """Return whether the arrays of a case have four axes."""
    return observation.case.call.inputs["query"].ndim == 4


def _diagnosed(
    subject: Subject,
    operation: str,
    dtype: str,
    seen: Sequence[Observation],
    seed: int,
    before: Sequence[Finding] = (),
) -> Diagnosis:
    wrong = [each for each in seen if not each.is_right]
    search = Search(seen, DEVIATIONS[operation])
    found = search.run() if wrong else ()
    findings = [*before, *findings_of(search, found)]
    explained = {seen[place].case.id for place in search.explained(found)}
    if operation == "attention":
        findings += refusals(seen, explained)
        findings += beside_numbers.single_precision(seen, explained)
        explained |= {case for finding in findings[len(before) :] for case in finding.cases}
    findings += random_results(subject, [each for each in wrong if each.case.id not in explained])
    explained |= {case for finding in findings[len(before) :] for case in finding.cases}
    findings += _in_float32(subject, operation, seen, seed)
    if not wrong and not findings:
        findings += _in_lower_dtypes(subject, operation, dtype, seed)
    findings.sort(key=lambda finding: -len(finding.cases))
    unexplained = {each.case.id: each.error or mismatch(each) for each in wrong if each.case.id not in explained}
    ids = tuple(each.case.id for each in wrong)
    return Diagnosis(subject.name, operation, dtype, len(seen), ids, tuple(findings), unexplained)


def _in_float32(subject: Subject, operation: str, seen: Sequence[Observation], seed: int) -> list[Finding]:
    """Run in float32 too, to find a wrong result dtype or a lower internal precision."""
    every = _SAMPLE if framework(subject.arrays).compiles else 1
    single = seen if seen[0].dtype == "float32" else list(observations(subject, operation, "float32", seed, every))
    right = {each.case.id for each in seen if each.is_right and each.dtype == "float64"}
    return [*beside_numbers.dtypes(single, subject.arrays), *beside_numbers.low_precision(single, right)]


def _in_lower_dtypes(subject: Subject, operation: str, dtype: str, seed: int) -> list[Finding]:
    """Run in the other dtypes, to find rounding errors outside the budget of what is right in float64."""
    for lower in _LOWER[_LOWER.index(dtype) + 1 :]:
        if found := list(beside_numbers.roundings(list(observations(subject, operation, lower, seed)))):
            return found
    return []


def _lines(diagnosis: Diagnosis) -> list[str]:
    ran = f"{diagnosis.ran} cases in {diagnosis.dtype}"
    if diagnosis.conforms:
        what = "softmax(scale q k^T) v" if diagnosis.operation == "attention" else diagnosis.operation
        return [f"{diagnosis.name} computes {what} as specified, in all of {ran}"]
    explained = len(diagnosis.wrong) - len(diagnosis.unexplained)
    lines = [f"{diagnosis.name} is wrong in {len(diagnosis.wrong)} of {ran}; {_counted(diagnosis, explained)}"]
    if not diagnosis.wrong:
        lines = [f"{diagnosis.name} has the right values in all of {ran}, but"]
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
