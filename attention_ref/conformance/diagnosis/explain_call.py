"""The mistakes that explain the results of one call, such as that of a layer inside a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from attention_ref.conformance.budget import Roundings, budget, compare
from attention_ref.conformance.case import Case, Expected
from attention_ref.conformance.diagnosis.deviation_search import Search
from attention_ref.conformance.diagnosis.deviations import DEVIATIONS
from attention_ref.conformance.diagnosis.finding import Finding
from attention_ref.conformance.diagnosis.findings_of_search import findings_of
from attention_ref.conformance.diagnosis.observation import TOLERANCE, Observation
from attention_ref.conformance.diagnosis.operation_formula import OperationFormula
from attention_ref.spec.dtypes import DTYPES
from attention_ref.spec.trace import FACTOR
from attention_ref.vectors.call import Call


@dataclass(frozen=True)
class Explanation:
    """The explanation of the results of one call.

    Arguments:
        findings: the deviations that together reproduce them; empty if they are right, or if none reproduces them.
    """

    findings: tuple[Finding, ...] = ()


def explain_call(
    call: Call,
    answer: Mapping[str, np.ndarray],
    dtype: str = "float32",
    *,
    allowed: Mapping[str, np.ndarray] | None = None,
    name: str = "the call",
) -> Explanation:
    """Return the smallest set of deviations that reproduces the results of one call.

        call = Call("FeedForward", {"array": array}, config=config, parameters=parameters)
        explain_call(call, {"output": output})

    Deviations are tried singly, then in pairs. One call shows less than the cases of the vectors: where several
    deviations give the same results, the most frequent one is returned.

    Arguments:
        call: the operation with its inputs, options, configuration and parameters.
        answer: the results by name, `output` and others that the operation has.
        dtype: the dtype in which they were computed.
        allowed: the largest error of each element by result; when None, 64 units of roundoff of the largest element in
            layers, and 16 in other operations.
        name: what the examples of the findings call it.

    Returns:
        `.findings`, the deviations, empty if the results are right or no deviation reproduces them.
    """
    observation = _observed(call, answer, dtype, allowed, name)
    if observation.is_right:
        return Explanation()
    search = Search([observation], DEVIATIONS[call.operation])
    return Explanation(tuple(findings_of(search, search.run())))


def _observed(
    call: Call, answer: Mapping[str, np.ndarray], dtype: str, allowed: Mapping[str, np.ndarray] | None, name: str
) -> Observation:
    right = OperationFormula().results(call, dtype)
    results = {each: np.asarray(array, np.float64) for each, array in answer.items()}
    expected = {
        each: Expected(right[each], _roundings(call, right[each], dtype, allowed[each] if allowed else None))
        for each in results
    }
    case = Case(name, call, "", (), "", (), (dtype,), expected)
    is_right = all(_is_within(results[each], expected[each], dtype) for each in results)
    return Observation(case, dtype, results, dict.fromkeys(results, dtype), is_right=is_right)


def _roundings(call: Call, values: np.ndarray, dtype: str, allowed: np.ndarray | None) -> Roundings:
    """Return sizes of rounding errors whose budget is the allowed error."""
    unit = DTYPES[DTYPES[dtype].arithmetic].unit_roundoff
    if allowed is None:
        finite: Sequence[float] = np.abs(values[np.isfinite(values)]).tolist()
        units = TOLERANCE if call.table.is_layer else TOLERANCE / 4
        allowed = np.full(values.shape, units * DTYPES[dtype].unit_roundoff * max(finite, default=0.0))
    zero = np.zeros(values.shape)
    return Roundings(np.broadcast_to(allowed, values.shape) / (FACTOR * unit), zero, zero, zero)


def _is_within(got: np.ndarray, expected: Expected, dtype: str) -> bool:
    if got.shape != expected.values.shape:
        return False
    return bool(np.all(compare(got, expected.values, budget(expected.roundings, dtype)).error_ratio <= 1))
