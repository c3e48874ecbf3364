"""The results of a subject in the cases of an operation, right and wrong ones."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from attention_ref.conformance.budget import budget, compare
from attention_ref.conformance.case import Case, cases
from attention_ref.conformance.case_heads import GRADIENTS, profiles
from attention_ref.conformance.errors import SubjectError, Unsupported
from attention_ref.conformance.frameworks import framework
from attention_ref.conformance.outcome import result_dtype
from attention_ref.conformance.reseeded_cases import with_seed
from attention_ref.conformance.subjects.invoke import Invocation
from attention_ref.conformance.subjects.subject import Subject
from attention_ref.conformance.timeouts import Late, limited
from attention_ref.spec.dtypes import DTYPES

TOLERANCE = 64
"""The tolerance of a prediction: this many unit roundoffs of the largest element, in addition to the budget."""
TOLERANCE_OF_DOUBLE = 1024
"""The same in float64, where no two deviations are as near: wrong layers may be worse conditioned than right ones."""


@dataclass(frozen=True, eq=False)
class Observation:
    """The results of one case.

    Arguments:
        case, dtype: the case and the dtype of its inputs.
        results: the returned arrays by name; empty if the call raised.
        dtypes: their dtypes.
        is_right: whether all of them are within their budgets.
        error: the exception that the call raised, as text.
    """

    case: Case
    dtype: str
    results: Mapping[str, np.ndarray]
    dtypes: Mapping[str, str]
    is_right: bool
    error: str = ""

    def is_reproduced_by(self, predicted: Mapping[str, np.ndarray] | None) -> bool:
        """Return whether predicted and observed results agree within rounding; None predicts an exception."""
        if predicted is None or not self.results:
            return predicted is None and bool(self.error)
        return all(self._is_close(name, predicted[name]) for name in self.results)

    def _is_close(self, name: str, predicted: np.ndarray) -> bool:
        observed = self.results[name]
        if observed.shape != predicted.shape:
            return False
        finite = np.abs(predicted[np.isfinite(predicted)])
        unit = DTYPES[self.dtype].unit_roundoff
        units = TOLERANCE_OF_DOUBLE if self.dtype == "float64" else TOLERANCE
        allowed = np.full(observed.shape, units * unit * max(finite, default=0.0))
        expected = self.case.expected[name]
        if expected.values.shape == observed.shape:
            allowed = allowed + budget(expected.roundings, self.dtype)
        return bool(np.all(compare(observed, predicted, allowed).error_ratio <= 1))


def observations(subject: Subject, operation: str, dtype: str, seed: int = 0, every: int = 1) -> Iterator[Observation]:
    """Call a subject on every case, or on one of so many of each profile, that its signature supports.

    Cases that ask for gradients are left out.
    """
    for profile in profiles(operation):
        for case in with_seed(cases(operation, profile)[::every], seed) if profile != GRADIENTS else ():
            if dtype in case.dtypes and not case.is_optional:
                with contextlib.suppress(Unsupported):
                    yield observe(subject, case, dtype)


def observe(subject: Subject, case: Case, dtype: str) -> Observation:
    """Call a subject on a case.

    Raises:
        Unsupported: if its signature lacks an argument of the case.
    """
    arrays = framework(subject.arrays)
    invocation = Invocation(subject.operations[case.operation], case, dtype, arrays)
    try:
        with limited(subject.timeout):
            returned = invocation.returned()
    except Late:
        return Observation(case, dtype, {}, {}, is_right=False, error="timeout")
    except SubjectError as error:
        return Observation(case, dtype, {}, {}, is_right=False, error=error.reason.removeprefix("it raises "))
    items = returned if isinstance(returned, (tuple, list)) else [returned]
    if case.call.chunks:
        results, dtypes = {"output": items[0]}, {"output": dtype}
    elif len(items) != len(case.expected) or not all(arrays.is_array(item) for item in items):
        return Observation(case, dtype, {}, {}, is_right=False, error="its return value has the wrong structure")
    else:
        named = dict(zip(case.expected, items, strict=True))
        results = {name: arrays.read(item) for name, item in named.items()}
        dtypes = {name: arrays.dtype(item) for name, item in named.items()}
    return Observation(case, dtype, results, dtypes, is_right=_is_right(case, results, dtypes, dtype))


def _is_right(case: Case, results: Mapping[str, np.ndarray], dtypes: Mapping[str, str], dtype: str) -> bool:
    for name, expected in case.expected.items():
        if results[name].shape != expected.values.shape or dtypes[name] != result_dtype(name, dtype):
            return False
        if np.any(compare(results[name], expected.values, budget(expected.roundings, dtype)).error_ratio > 1):
            return False
    return True
