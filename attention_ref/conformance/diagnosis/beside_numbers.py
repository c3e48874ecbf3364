"""Findings other than a wrong formula: exceptions, a wrong dtype, a lower internal precision."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from attention_ref.conformance.budget import compare
from attention_ref.conformance.diagnosis.finding import Finding
from attention_ref.conformance.diagnosis.observation import Observation
from attention_ref.conformance.outcome import result_dtype
from attention_ref.spec.dtypes import DTYPES
from attention_ref.spec.operations import OPERATIONS
from attention_ref.spec.trace import FACTOR


def refusals(seen: Sequence[Observation], explained: Container[str]) -> Iterator[Finding]:
    """Find classes of shapes in which most cases raise, leaving out cases that are already explained."""
    left = [each for each in seen if each.error and each.case.id not in explained]
    for refusal in _REFUSALS:
        asked = [each for each in seen if refusal.holds(_Shapes.of(each))]
        raised = [each for each in left if refusal.holds(_Shapes.of(each))]
        if not raised or 2 * len(raised) <= len(asked):
            continue
        error, _ = Counter(each.error for each in raised).most_common(1)[0]
        yield Finding(
            deviation=f"raises.{refusal.name}",
            sentence=f"it raises an error {refusal.words}",
            clause=refusal.clause,
            correction="support it, or raise NotImplementedError for unsupported calls",
            cases=tuple(each.case.id for each in raised),
            example=f"{raised[0].case.id}: {error}",
        )
        left = [each for each in left if each not in raised]


class _Shapes(NamedTuple):
    query: tuple[int, ...]
    key: tuple[int, ...]
    value: tuple[int, ...]

    @classmethod
    def of(cls, observation: Observation) -> _Shapes:
        return cls(*(observation.case.call.inputs[name].shape for name in ("query", "key", "value")))


class _Refusal(NamedTuple):
    name: str
    words: str
    clause: str
    holds: Callable[[_Shapes], bool]


_REFUSALS = (
    _Refusal("four-axes", "for arrays of four axes", "attention.batch", lambda s: len(s.query) == 4),
    _Refusal("batch-axes", "for arrays that do not have four axes", "attention.batch", lambda s: len(s.query) != 4),
    _Refusal("no-keys", "for a key length of 0", "attention.empty-axis", lambda s: s.key[-2] == 0),
    _Refusal("no-queries", "for a query length of 0", "attention.empty-axis", lambda s: s.query[-2] == 0),
    _Refusal("no-rows", "for a batch size of 0", "attention.batch", lambda s: 0 in s.query[:-3]),
    _Refusal(
        "grouped-heads", "where query heads share a key head", "attention.heads", lambda s: s.query[-3] != s.key[-3]
    ),
    _Refusal(
        "value-size",
        "where the head sizes of values and keys differ",
        "attention.value-size",
        lambda s: s.value[-1] != s.key[-1],
    ),
)


def precision_clause(operation: str) -> str:
    """Return the clause on the precision of an operation."""
    group = OPERATIONS[operation].group
    return f"{group}.precision" if group in ("linear", "norms") else "attention.precision"


def dtypes(seen: Sequence[Observation], kind: str) -> Iterator[Finding]:
    """Find results whose dtype differs from that of the inputs."""
    off = [each for each in seen if each.dtypes.get("output", each.dtype) != each.dtype]
    if not off:
        return
    dtype = Counter(each.dtypes["output"] for each in off).most_common(1)[0][0]
    is_wider = dtype in DTYPES and DTYPES[dtype].precision > DTYPES[off[0].dtype].precision
    hint = (
        "; np.sqrt(d) returns a float64 scalar, which promotes float32 arrays; math.sqrt(d) does not"
        if kind == "numpy"
        else ""
    )
    yield Finding(
        deviation="dtype.promoted" if is_wider else "dtype.lowered",
        sentence=f"{off[0].dtype} inputs give {dtype} results",
        clause=precision_clause(off[0].case.operation),
        correction="return the dtype of the inputs" + (hint if is_wider else ""),
        cases=tuple(each.case.id for each in off),
    )


def low_precision(seen: Sequence[Observation], right_in_double: set[str]) -> Iterator[Finding]:
    """Find errors that a lower internal precision explains: right in float64, and off by roundings of 16 bits."""
    off = [each for each in seen if each.case.id in right_in_double and not each.is_right and not each.error]
    off = [each for each in off if set(each.dtypes.values()) == {each.dtype}]
    if 4 * len(off) < len(seen):
        return
    for name in ("float16", "bfloat16"):
        explained = [each for each in off if _is_within(each, DTYPES[name].unit_roundoff)]
        if explained and len(explained) >= len(off) / 2:
            yield Finding(
                deviation="softmax.low-precision",
                sentence=f"{off[0].dtype} inputs are computed internally with the precision of {name}",
                clause=precision_clause(off[0].case.operation),
                correction=f"compute everything inside in {DTYPES[off[0].dtype].arithmetic}",
                cases=tuple(each.case.id for each in explained),
            )
            return


def single_precision(wrong: Sequence[Observation]) -> Iterator[Finding]:
    """Find wrong results in float64 that are float32 numbers, within the budget of float32."""
    single = [
        each
        for each in wrong
        if each.results and each.dtype == "float64" and _has_right_dtypes(each) and _is_single(each.results)
    ]
    explained = [each for each in single if _is_within(each, DTYPES["float32"].unit_roundoff)]
    if explained:
        yield Finding(
            deviation="softmax.low-precision",
            sentence="float64 inputs are computed internally in float32",
            clause=precision_clause(explained[0].case.operation),
            correction="compute everything inside in float64",
            cases=tuple(each.case.id for each in explained),
        )


def _is_single(results: Mapping[str, np.ndarray]) -> bool:
    with np.errstate(over="ignore", under="ignore"):
        return all(
            np.array_equal(array, array.astype(np.float32).astype(np.float64), equal_nan=True)
            for array in results.values()
        )


def roundings(seen: Sequence[Observation]) -> Iterator[Finding]:
    """Find results of the right dtype outside the budget of rounding errors, where those of float64 are within it."""
    off = [each for each in seen if each.results and not each.is_right and _has_right_dtypes(each)]
    if not off:
        return
    dtype = off[0].dtype
    yield Finding(
        deviation="precision.rounding",
        sentence=f"{dtype} results are outside the budget of rounding errors, although those of float64 are right",
        clause=precision_clause(off[0].case.operation),
        correction=f"compute in at least {DTYPES[dtype].arithmetic}, without steps that cancel or overflow, "
        "and round the result once",
        cases=tuple(each.case.id for each in off),
    )


def _has_right_dtypes(observation: Observation) -> bool:
    return all(found == result_dtype(name, observation.dtype) for name, found in observation.dtypes.items())


def _is_within(observation: Observation, unit: float) -> bool:
    for name, expected in observation.case.expected.items():
        allowed = FACTOR * unit * (expected.roundings.arithmetic + np.abs(expected.values))
        with np.errstate(invalid="ignore"):
            if np.any(compare(observation.results[name], expected.values, allowed).error_ratio > 1):
                return False
    return True
