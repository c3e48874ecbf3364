"""Test laws on a subject, or replay a counterexample."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from attention_ref.conformance.errors import Unsupported, reject
from attention_ref.conformance.frameworks import framework
from attention_ref.conformance.laws import all_laws, counterexample
from attention_ref.conformance.laws.evaluate import tried
from attention_ref.conformance.laws.law import Law
from attention_ref.conformance.laws.law_report import LawReport
from attention_ref.conformance.laws.scheduling import run_laws
from attention_ref.conformance.laws.search_loop import FAILS, HOLDS, UNSUPPORTED, LawResult
from attention_ref.conformance.signatures import name_of
from attention_ref.conformance.subjects.subject import Subject
from attention_ref.spec.dtypes import COMPUTED, DTYPES
from attention_ref.spec.operations import OPERATIONS

EXAMPLES = 50
"""The default number of random calls per law."""
Progress = Callable[[int, int, LawResult], None]


def check_laws(
    subject: Subject | Callable[..., Any],
    op: str | None = None,
    *,
    arrays: str = "numpy",
    laws: Sequence[str] | None = None,
    dtypes: Sequence[str] = COMPUTED,
    examples: int = EXAMPLES,
    seed: int = 0,
    save: str | Path | None = None,
    progress: Progress | None = None,
) -> LawReport:
    """Test laws on a subject: properties that relate the results of several calls and need no expected values.

        report = conformance.check_laws(my_attention)
        print(report)
        report.raise_for_failures()

    hypothesis draws random calls, reproducibly, and shrinks one that breaks a law to a minimal counterexample.

    Arguments:
        subject: a function, called as in `check`, or a `Subject`.
        op: the operation to test; if None, `"attention"` for a function and every operation of a `Subject`.
        arrays: the array type of a function.
        laws: ids, such as `("key-permutation", "batch-independence")`; all if None.
        dtypes: some of `"float64"`, `"float32"`, `"float16"`, `"bfloat16"`.
        examples: the number of random calls per law.
        seed: the seed of the random calls.
        save: a folder for counterexamples, as files `law.operation.dtype.json` that `replay_law` reads.
        progress: called after every law with the number of finished laws, the total, and the last result.

    Returns:
        A report: `report.passed`, `str(report)`, `report.raise_for_failures()`, `report.results`. A law whose
        options the subject lacks is unsupported, neither passed nor failed; a subject for which no law ran has not
        passed.

    Raises:
        UsageError: for an unknown operation, law, dtype or array type, and if hypothesis is not installed.

    Example:
        >>> check_laws(attention, laws=("batch-independence",), dtypes=("float64",), examples=5).passed
        True
    """
    subject = _subject(subject, op, arrays)
    for dtype in dtypes:
        if dtype not in DTYPES:
            reject("dtype", dtype, DTYPES)
    framework(subject.arrays)
    held = [name for name in subject.operations if name in all_laws.OPERATIONS]
    chosen = all_laws.chosen([op] if op else held, laws)
    results: list[LawResult] = []
    for name in dict.fromkeys(name for _, name in chosen):
        own = [law for law, operation in chosen if operation == name]
        for dtype in dtypes:
            for result in run_laws(subject, own, name, dtype, examples=examples, seed=seed):
                results.append(result)
                if progress is not None:
                    progress(len(results), len(chosen) * len(dtypes), result)
    places = {pair: place for place, pair in enumerate(chosen)}
    results.sort(key=lambda result: places[result.law, result.operation])
    report = LawReport(subject, tuple(dtypes), tuple(results), seed, examples=examples if examples != EXAMPLES else 0)
    if save is not None:
        report.save(save)
    return report


def replay_law(
    subject: Subject | Callable[..., Any], path: str | Path, *, arrays: str = "numpy", dtype: str | None = None
) -> LawReport:
    """Run the calls of a counterexample again.

    Arguments:
        subject: as in `check_laws`; it may differ from the one on which the counterexample was found.
        path: the file of the counterexample.
        arrays: the array type of a function.
        dtype: a dtype to use instead of the recorded one.

    Returns:
        A report on one law and one example.

    Raises:
        UsageError: if the file is not a counterexample, or the subject lacks the operation.

    Example:
        >>> def wrong(query, key, value, *, causal=False):
        ...     return attention(query, key, value)
        >>> options = {"laws": ("future-independence",), "dtypes": ("float64",), "examples": 10}
        >>> check_laws(wrong, **options, save=folder).passed
        False
        >>> replay_law(attention, f"{folder}/future-independence.attention.float64.json").passed
        True
    """
    data = counterexample.read(path)
    operation, dtype = data["operation"], dtype or data["dtype"]
    if dtype not in DTYPES:
        reject("dtype", dtype, DTYPES)
    subject = _subject(subject, operation, arrays)
    trial, budgets = counterexample.trial_of(data, path)
    law = Law(data["law"], data["statement"], lambda _: trial, tuple(data.get("clauses", ())), (operation,))
    try:
        outcome = tried(subject, trial, dtype, budgets if dtype == data["dtype"] else None)
    except Unsupported as reason:
        result = LawResult(law, operation, dtype, UNSUPPORTED, reason=str(reason))
    else:
        verdict, error_ratio = (HOLDS, outcome.error_ratio) if outcome.holds else (FAILS, None)
        result = LawResult(law, operation, dtype, verdict, 1, error_ratio, outcome=None if outcome.holds else outcome)
    return LawReport(subject, (dtype,), (result,), replayed=str(path))


def _subject(subject: Subject | Callable[..., Any], op: str | None, arrays: str) -> Subject:
    if not isinstance(subject, Subject):
        operation = op or "attention"
        if operation not in OPERATIONS:
            reject("operation", operation, OPERATIONS)
        return Subject(name_of(subject), arrays, {operation: subject})
    if op is not None and op not in subject.operations:
        reject(f"operation of {subject.name}", op, subject.operations)
    return subject
