"""Select cases, run them on a subject, and compare the results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

import numpy as np

from attention_ref import vectors
from attention_ref.conformance.budget import budget, compare
from attention_ref.conformance.case import Case, cases
from attention_ref.conformance.case_heads import profiles as profiles_of
from attention_ref.conformance.errors import HangError, MissingArguments, SubjectError, Unsupported, UsageError, reject
from attention_ref.conformance.outcome import (
    FAILED,
    NOT_ASKED,
    PASSED,
    UNSUPPORTED,
    Answer,
    Mismatch,
    Progress,
    Result,
    result_dtype,
)
from attention_ref.conformance.profiles import belongs, claimed, known_profiles
from attention_ref.conformance.reseeded_cases import with_seed
from attention_ref.conformance.subjects.base_subject import BaseSubject
from attention_ref.spec.dtypes import COMPUTED, DTYPES

MOST_HANGS = 3


def run(
    subject: BaseSubject,
    checks: Sequence[tuple[Case, str]],
    progress: Progress | None = None,
    watch: Callable[[Result | None], object] | None = None,
) -> list[Result]:
    """Run every case in its dtype; `progress` is called with the finished count, the total and the last result.

    After `MOST_HANGS` calls that timed out, the rest is not run. `watch` is called with None before each call and with
    the result after it.
    """
    results: list[Result] = []
    hangs = 0
    for case, dtype in checks:
        if watch is not None:
            watch(None)
        results.append(_result(subject, case, dtype))
        if watch is not None:
            watch(results[-1])
        if progress is not None:
            progress(len(results), len(checks), results[-1])
        hangs += results[-1].hangs
        if hangs == MOST_HANGS:
            return results + _left(checks[len(results) :])
    return results


def hanging(subject: BaseSubject, checks: Sequence[tuple[Case, str]]) -> list[Result]:
    """Return the results of a subject of which every call hangs and cannot be interrupted."""
    reason = f"it does not return within {subject.timeout:g} s, and it cannot be interrupted"
    return [Result(case, dtype, FAILED, reason, hangs=True) for case, dtype in checks]


def _left(checks: Sequence[tuple[Case, str]]) -> list[Result]:
    return [Result(case, dtype, UNSUPPORTED, NOT_ASKED) for case, dtype in checks]


def _result(subject: BaseSubject, case: Case, dtype: str) -> Result:
    try:
        answer = subject.answer(case, dtype)
    except Unsupported as unsupported:
        reason = str(unsupported) or "without a reason"
        if claim := claimed(case, dtype, subject.claims):
            return Result(case, dtype, FAILED, f"it claims {claim}, but this is unsupported: {reason}")
        names = unsupported.names if isinstance(unsupported, MissingArguments) else ()
        return Result(case, dtype, UNSUPPORTED, reason, names)
    except SubjectError as fault:
        return Result(case, dtype, FAILED, fault.reason, where=fault.where, hangs=isinstance(fault, HangError))
    return _compared(case, dtype, answer)


def _compared(case: Case, dtype: str, answer: Answer) -> Result:
    """Compare the intermediates in order of computation, then the results."""
    pairs = [(name, case.taps[name], got, True) for name, got in answer.taps.items()]
    pairs += [(name, expected, answer.results[name], False) for name, expected in case.expected.items()]
    worst, mismatches = 0.0, []
    for name, expected, got, is_tap in pairs:
        rounded = _coarser(dtype, answer.wrong_dtypes.get(name, dtype))
        error, allowed, error_ratio = compare(got, expected.values, budget(expected.roundings, rounded))
        if not error_ratio.size:
            continue
        flat = int(np.argmax(error_ratio))
        worst = max(worst, float(error_ratio.flat[flat]))
        if error_ratio.flat[flat] > 1:
            index = tuple(int(position) for position in np.unravel_index(flat, error_ratio.shape))
            numbers = {"expected": expected.values, "got": got, "error": error, "budget": allowed}
            found = {field: float(array.flat[flat]) for field, array in numbers.items()}
            mismatches.append(
                Mismatch(name, index, **found, off=int(np.sum(error_ratio > 1)), size=error_ratio.size, is_tap=is_tap)
            )
    wrong = answer.wrong_dtypes
    reasons = [f"{name} has the dtype {found} instead of {result_dtype(name, dtype)}" for name, found in wrong.items()]
    return Result(
        case,
        dtype,
        FAILED if mismatches or wrong else PASSED,
        "; ".join(reasons),
        error_ratio=worst,
        mismatch=next(iter(mismatches), None),
        warnings=answer.warnings,
        wrong_dtype=next(iter(wrong.values()), ""),
    )


def _coarser(one: str, other: str) -> str:
    """Return the dtype of two that rounds more."""
    return max(one, other, key=lambda dtype: DTYPES[dtype].unit_roundoff)


def select(
    operations: Iterable[str],
    profiles: Sequence[str] | None = None,
    dtypes: Sequence[str] = COMPUTED,
    pattern: str = "*",
    seed: int = 0,
) -> list[tuple[Case, str]]:
    """Choose cases and the dtypes to run them in.

    Arguments:
        operations: the operations to check.
        profiles: groups of cases; all when None. Dtypes among them are run instead of `dtypes`.
        dtypes: a case runs in those that represent its inputs exactly.
        pattern: a shell pattern of case ids.
        seed: draws other inputs; 0 is the seed of the vectors.

    Raises:
        UsageError: for an unknown name, or if no case is selected.
    """
    groups = {operation: _profiles(operation) for operation in operations}
    available = known_profiles(groups, {name for names in groups.values() for name in names})
    for profile in profiles or ():
        if profile not in available:
            reject("profile", profile, available)
    dtypes = [name for name in profiles or () if name in DTYPES] or dtypes
    for dtype in dtypes:
        if dtype not in DTYPES:
            reject("dtype", dtype, DTYPES)
    offered = _offered(groups, [name for name in profiles or () if name not in DTYPES])
    chosen = [case for case in offered if case.id == pattern or fnmatchcase(case.id, pattern)]
    if not chosen:
        reject("case", pattern, [case.id for case in offered])
    chosen = with_seed(chosen, seed)
    checks = [(case, dtype) for case in chosen for dtype in dtypes if dtype in case.dtypes]
    if not checks:
        exact = sorted({dtype for case in chosen for dtype in case.dtypes})
        raise UsageError(
            f"no selected case is exactly representable in {', '.join(dtypes)}; available: {', '.join(exact)}"
        )
    return checks


def _offered(groups: Mapping[str, Sequence[str]], profiles: Sequence[str]) -> list[Case]:
    every = [case for operation, names in groups.items() for name in names for case in cases(operation, name)]
    return [case for case in every if not profiles or belongs(case, profiles)]


def _profiles(operation: str) -> list[str]:
    if operation not in vectors.operations():
        reject("operation", operation, vectors.operations())
    return profiles_of(operation)
