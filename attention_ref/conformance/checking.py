"""The kit as a function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from attention_ref.conformance.arrays import arrays_of
from attention_ref.conformance.operations import OPERATIONS
from attention_ref.conformance.report import Report
from attention_ref.conformance.runner import Progress, reject, run, select
from attention_ref.conformance.subject import Subject

DTYPES = ("float64", "float32")
"""The dtypes that a check runs in unless it is told otherwise."""


def check(
    function: Callable[..., Any],
    op: str = "attention",
    *,
    arrays: str = "numpy",
    profiles: Sequence[str] | None = None,
    dtypes: Sequence[str] = DTYPES,
    cases: str = "*",
    seed: int = 0,
    name: str | None = None,
    progress: Progress | None = None,
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
        function: what is checked.
        op: the operation that it is to be: a key of `conformance.OPERATIONS`.
        arrays: what it takes and returns: `"numpy"`, `"torch"`, `"tensorflow"`, `"jax"` or `"keras"`.
        profiles: groups of cases, such as `("core", "causal")`; all when None.
        dtypes: some of `"float64"`, `"float32"`, `"float16"`, `"bfloat16"`.
        cases: a pattern of the cases' ids, such as `"attention/causal/*"`.
        seed: gives the cases other numbers, with their truth computed at once, which needs mpmath; 0 is the seed of the
            vectors. Gradients are checked with that one only.
        name: what the report calls the function; by default its own name.
        progress: called after every case with the number done, the number to do, and the last result.

    Returns:
        A report: `report.passed`, `str(report)`, `report.raise_for_failures()`, `report.clauses`, `report.results`.
        What was unsupported counts neither way; a function for which nothing ran has not passed.

    Raises:
        UsageError: for an operation, profile, dtype, kind of arrays or case that does not exist.
    """
    if op not in OPERATIONS:
        reject("operation", op, OPERATIONS)
    called = str(getattr(function, "__name__", type(function).__name__))
    chosen = {"op": (op, "attention"), "arrays": (arrays, "numpy")}
    given = "".join(f", {key}={value!r}" for key, (value, default) in chosen.items() if value != default)

    def reproduce(case: str, dtype: str) -> str:
        seeded = f", seed={seed}" if seed else ""
        return f'conformance.check({called}{given}, cases="{case}", dtypes=("{dtype}",){seeded})'

    subject = Subject(name or called, arrays, {op: function})
    return check_subject(
        subject, profiles=profiles, dtypes=dtypes, cases=cases, seed=seed, progress=progress, reproduce=reproduce
    )


def check_subject(
    subject: Subject,
    *,
    operations: Sequence[str] | None = None,
    profiles: Sequence[str] | None = None,
    dtypes: Sequence[str] = DTYPES,
    cases: str = "*",
    seed: int = 0,
    progress: Progress | None = None,
    reproduce: Callable[[str, str], str] | None = None,
) -> Report:
    """Check a subject in some or all of its operations; everything else is as in `check`.

    Optional clauses decide conformance for backends of this library, where profiles are named, and where nothing but
    optional cases is chosen.
    """
    for operation in operations or ():
        if operation not in subject.operations:
            reject(f"operation of {subject.name}", operation, subject.operations)
    arrays_of(subject.arrays)
    checks = select(operations or list(subject.operations), profiles, dtypes, cases, seed)
    binds_optional = subject.is_room or profiles is not None or all(case.is_optional for case, _ in checks)
    results = run(subject, checks, progress)
    return Report(subject, tuple(dtypes), results, reproduce or _command(subject.name, seed), binds_optional)


def _command(name: str, seed: int) -> Callable[[str, str], str]:
    seeded = f" --seed {seed}" if seed else ""
    return lambda case, dtype: f"attention-ref check {name} --case {case} --dtype {dtype}{seeded}"
