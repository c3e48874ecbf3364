"""Findings about numbers beside the formula: a wrong dtype, a lower internal precision, roundings."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Container, Iterator, Sequence

import numpy as np

from attention_ref.conformance.budget import compare
from attention_ref.conformance.diagnosis.finding import Finding
from attention_ref.conformance.diagnosis.observation import Observation
from attention_ref.conformance.outcome import result_dtype
from attention_ref.spec.dtypes import DTYPES
from attention_ref.spec.operations import ATTENTION, OPERATIONS
from attention_ref.spec.trace import FACTOR


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
    option = _option_of(off, seen)
    where = f" where it is called with {option}" if option else ""
    hint = _PROMOTIONS.get(option, "") if kind == "numpy" and is_wider else ""
    yield Finding(
        deviation="dtype.promoted" if is_wider else "dtype.lowered",
        sentence=f"{off[0].dtype} inputs give {dtype} results{where}",
        clause=precision_clause(off[0].case.operation),
        correction=f"return the dtype of the inputs{hint}",
        cases=tuple(each.case.id for each in off),
    )


_PROMOTIONS = {
    "": "; np.sqrt(d) returns a float64 scalar, which promotes float32 arrays; math.sqrt(d) does not",
    "mask": "; numbers made of a mask, as in (1 - mask) * -1e9, are float64; np.where(mask, scores, -np.inf) is not",
}
"""What makes NumPy compute in float64, by the option with which a function does."""


def _option_of(off: Sequence[Observation], seen: Sequence[Observation]) -> str:
    """Return the option that all of some observations have and some of the others lack; an empty string for none."""
    if off[0].case.operation != "attention":
        return ""
    common = set.intersection(*(set(each.case.call.named) for each in off))
    others = [each.case.call.named for each in seen if each.results and each not in off]
    return next((name for name in ATTENTION.options if name in common and any(name not in o for o in others)), "")


def low_precision(seen: Sequence[Observation], right_in_double: set[str]) -> Iterator[Finding]:
    """Find errors that a lower internal precision explains: right in float64, and off by roundings of 16 bits."""
    off = [each for each in seen if each.case.id in right_in_double and not each.is_right and not each.error]
    off = [each for each in off if set(each.dtypes.values()) == {each.dtype}]
    if 4 * len(off) < len(seen):
        return
    yield from _computed_in(("float16", "bfloat16"), off)


def single_precision(seen: Sequence[Observation], explained: Container[str]) -> Iterator[Finding]:
    """Find errors in float64 that an internal precision of float32 explains, leaving out explained cases."""
    off = [each for each in seen if each.dtype == "float64" and not each.is_right and each.case.id not in explained]
    off = [each for each in off if each.results and _has_right_dtypes(each)]
    between = math.sqrt(DTYPES["float32"].unit_roundoff * DTYPES["float64"].unit_roundoff)
    if not all(_is_within(each, between) for each in off):
        yield from _computed_in(("float32",), off)


def _computed_in(dtypes: Sequence[str], off: Sequence[Observation]) -> Iterator[Finding]:
    """Find the first dtype whose precision explains at least half of the wrong observations."""
    for name in dtypes:
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
        if observation.results[name].shape != expected.values.shape:
            return False
        allowed = FACTOR * unit * (expected.roundings.arithmetic + np.abs(expected.values))
        with np.errstate(invalid="ignore"):
            if np.any(compare(observation.results[name], expected.values, allowed).error_ratio > 1):
                return False
    return True
