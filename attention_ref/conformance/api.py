"""The kit as a function."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from functools import partial
from typing import Any

from attention_ref.conformance.case_heads import profiles as profiles_of
from attention_ref.conformance.diagnosis import Finding, diagnose_subject
from attention_ref.conformance.dialects.dialect import Dialect
from attention_ref.conformance.errors import UsageError, reject
from attention_ref.conformance.expected_failures import KnownFailures
from attention_ref.conformance.outcome import FAILED, Progress, Result
from attention_ref.conformance.preflight import NO_REMARK, require_callable
from attention_ref.conformance.profiles import known_profiles
from attention_ref.conformance.report import Report
from attention_ref.conformance.run import hanging, run, select
from attention_ref.conformance.signatures import name_of
from attention_ref.conformance.subjects.base_subject import BaseSubject
from attention_ref.conformance.subjects.examined_subject import examine_subject
from attention_ref.conformance.subjects.subject import Subject, subject_of
from attention_ref.conformance.timeouts import TIMEOUT
from attention_ref.spec.dtypes import COMPUTED
from attention_ref.spec.operations import OPERATIONS


def check(
    function: Callable[..., Any],
    op: str = "attention",
    *,
    arrays: str | None = None,
    dialect: Dialect | str | None = None,
    profiles: Sequence[str] | None = None,
    dtypes: Sequence[str] = COMPUTED,
    cases: str = "*",
    seed: int = 0,
    name: str | None = None,
    gradient: Callable[..., Any] | None = None,
    claims: Sequence[str] = (),
    progress: Progress | None = None,
    timeout: float | None = TIMEOUT,
) -> Report:
    """Check a function or a layer against the specification.

        report = conformance.check(my_attention)
        report = conformance.check(my_norm, op="layer_norm")
        report = conformance.check(build_my_block, op="Block")

    Attention is called as `function(query, key, value, **options)`, with arrays `(b,h,q,d)`, `(b,g,k,d)`, `(b,g,k,v)`
    and the options of the same-named function in `attention_ref.spec`; the other functions are called like theirs, see
    `conformance.OPERATIONS`. A layer is built by `function(config, parameters)`, with the configuration as a record of
    `attention_ref.spec` and arrays by the names of the parameter tree, and then called; where its signature has `tap`,
    its intermediates are compared too, and where it has a cache, decoding in chunks. A case that uses an option which
    the signature lacks is unsupported, and so is one for which `conformance.Unsupported("reason")` is raised.

    Arguments:
        function: the function, or the builder of a layer, to check.
        op: the operation that it should compute: a key of `conformance.OPERATIONS`.
        arrays: the type of its arguments and results, one of `conformance.KINDS`, such as `"torch"`; when None, that of
            the dialect, or `"numpy"`.
        dialect: its calling convention, if it differs from the specification's: a `Dialect`, the name of one in the
            kit, or a TOML file. For attention only.
        profiles: groups of cases, such as `("core", "causal")`; all when None. `"grad"` are those that ask for
            gradients, `"model"` those that build a layer; a dtype among them is run instead of `dtypes`.
        dtypes: some of `"float64"`, `"float32"`, `"float16"`, `"bfloat16"`.
        cases: a pattern of the cases' ids, such as `"attention/causal/*"`.
        seed: of the random numbers in the inputs. 0 are the vectors; for other seeds the expected values are computed
            anew, which needs mpmath, and gradients are not checked.
        name: the name of the function in the report; by default its own.
        gradient: a function for the gradients: `gradient(query, key, value, *, cotangent, **options)` returns those of
            `sum(cotangent * output)` by the names of the inputs. Without it PyTorch, TensorFlow and JAX differentiate
            the function, and for NumPy's arrays gradients are unsupported.
        claims: profiles that the function must support: an unsupported case of them is a failure.
        progress: called after every case with the number done, the number to do, and the last result.
        timeout: the time limit of a call in seconds; None for no limit. It applies in the main thread, on systems with
            a timer that interrupts; native code is interrupted when it returns to Python.

    Returns:
        A report: `report.passed`, `str(report)`, `report.raise_for_failures()`, `report.clauses`, `report.results`.
        An unsupported case counts neither as passed nor as failed; a function for which no case ran has not passed.

    Raises:
        UsageError: for an operation, profile, dtype, kind of arrays or case that does not exist; and for a function
            that cannot be called like this, with what to change, see `conformance.PreflightError`.
    """
    if op not in OPERATIONS:
        reject("operation", op, OPERATIONS)
    require_callable(function, name or "")
    called = name_of(function)
    shown = {
        "op": repr(op) if op != "attention" else "",
        "arrays": repr(arrays) if arrays not in (None, "numpy") else "",
        "dialect": "..." if isinstance(dialect, Dialect) else repr(dialect) if dialect else "",
    }
    given = "".join(f", {name}={text}" for name, text in shown.items() if text)

    def reproduce(case: str, dtype: str) -> str:
        seeded = f", seed={seed}" if seed else ""
        return f'conformance.check({called}{given}, cases="{case}", dtypes=("{dtype}",){seeded})'

    subject = subject_of(
        function,
        name or called,
        op,
        arrays,
        dialect,
        gradients={op: gradient} if gradient is not None else {},
        claims=tuple(claims),
        timeout=timeout,
    )
    return check_subject(
        subject, profiles=profiles, dtypes=dtypes, cases=cases, seed=seed, progress=progress, reproduce=reproduce
    )


def check_subject(
    subject: BaseSubject,
    *,
    operations: Sequence[str] | None = None,
    profiles: Sequence[str] | None = None,
    dtypes: Sequence[str] = COMPUTED,
    cases: str = "*",
    seed: int = 0,
    gradients: bool = True,
    progress: Progress | None = None,
    reproduce: Callable[[str, str], str] | None = None,
    known: KnownFailures | None = None,
    examines: bool = True,
    watch: Callable[[Report], AbstractContextManager[Callable[[Result | None], object]]] | None = None,
) -> Report:
    """Check a subject in some or all of its operations.

    Optional clauses decide conformance for backends of this library, if profiles are selected, and if only optional
    cases are selected.

    Arguments:
        subject: what to check.
        operations: some of its operations; all if None.
        profiles, dtypes, cases, seed, progress: as in `check`.
        gradients: whether to include the cases that ask for gradients.
        reproduce: returns the command that runs a case in a dtype again; that of `attention-ref check` if None.
        known: the failures that are expected.
        examines: whether to reject a function that cannot be called as attention before any case is run, if all cases
            are selected.
        watch: receives the report of a subject whose every call hangs, and returns a context manager. Its value is
            called with None before each call, and with each result.

    Example:
        >>> subject = Subject("mine", "numpy", {"attention": attention})
        >>> check_subject(subject, cases="attention/core/single-*", dtypes=("float64",)).passed
        True
    """
    for operation in operations or ():
        if operation not in subject.operations:
            reject(f"operation of {subject.name}", operation, subject.operations)
    subject.require_installed()
    require_claims(subject)
    checks = select(operations or list(subject.operations), profiles, dtypes, cases, seed)
    checks = [(case, dtype) for case, dtype in checks if gradients or not case.cotangents]
    binds_optional = subject.is_room or profiles is not None or all(case.is_optional for case, _ in checks)
    if known is not None:
        known.require_matches(checks)

    def report(results: list[Result], advice: tuple[str, str] = NO_REMARK) -> Report:
        marked = known.marked(results) if known is not None else results
        command = reproduce or _command(subject, seed)
        explainable = _explainable(subject, results) if cases == "*" else []
        explain = partial(_explained, subject, explainable) if explainable else None
        return Report(
            subject,
            tuple(dtypes),
            marked,
            command,
            binds_optional,
            remarks=subject.remarks(),
            advice=advice[0],
            suggested_dialect=advice[1],
            explain=explain,
        )

    def examined(before: Callable[[], object]) -> tuple[str, str]:
        chosen = [dtype for case, dtype in checks if case.operation == "attention"]
        if not chosen or not examines or cases != "*":
            return NO_REMARK
        return examine_subject(subject, "float32" if "float32" in chosen else chosen[0], before)

    if watch is None or subject.timeout is None:
        advice = examined(lambda: None)
        return report(run(subject, checks, progress), advice)
    with watch(report(hanging(subject, checks))) as notify:
        advice = examined(lambda: notify(None))
        results = run(subject, checks, progress, lambda result: notify(result and report([result]).results[0]))
        return report(results, advice)


def _explainable(subject: BaseSubject, results: Sequence[Result]) -> list[str]:
    """Return the operations that fail and can be diagnosed: those of others, in this process, that never hang."""
    is_of_others = isinstance(subject, Subject) and not subject.is_room and not subject.version
    if not is_of_others or any(result.hangs for result in results):
        return []
    return list(dict.fromkeys(result.case.operation for result in results if result.verdict == FAILED))


def _explained(subject: BaseSubject, operations: Sequence[str]) -> Sequence[Finding]:
    found: list[Finding] = []
    for operation in operations:
        with suppress(UsageError):  # it takes none of the cases
            found += diagnose_subject(subject, operation).findings
    return found


def require_claims(subject: BaseSubject) -> None:
    """Reject a claim to an unknown profile.

    Raises:
        UsageError: for the first one.
    """
    there = known_profiles(subject.operations, {name for each in subject.operations for name in profiles_of(each)})
    for claim in subject.claims:
        if claim not in there:
            reject("profile to claim", claim, there)


def _command(subject: BaseSubject, seed: int) -> Callable[[str, str], str]:
    words = ["attention-ref check", subject.option, shlex.quote(subject.name)]
    checked, seeded = " ".join(filter(None, words)), f" --seed {seed}" if seed else ""
    return lambda case, dtype: f"{checked} --case {case} --dtype {dtype}{seeded}"
