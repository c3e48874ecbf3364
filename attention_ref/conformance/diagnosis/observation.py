"""The results of a subject in the cases of attention, right and wrong ones."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from attention_ref.conformance.budget import budget, compare
from attention_ref.conformance.case import GRADIENTS, Case, cases, profiles
from attention_ref.conformance.errors import Unsupported
from attention_ref.conformance.frameworks import framework
from attention_ref.conformance.frameworks.interface import Framework
from attention_ref.conformance.outcome import result_dtype
from attention_ref.conformance.signatures import options_of, signed
from attention_ref.conformance.subjects.subject import Subject
from attention_ref.conformance.timeouts import Late, limited
from attention_ref.spec.dtypes import DTYPES

_CLOSE = 64
"""The tolerance of a prediction: this many unit roundoffs of the largest element, in addition to the budget."""


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
        allowed = np.full(observed.shape, _CLOSE * unit * max(finite, default=0.0))
        expected = self.case.expected[name]
        if expected.values.shape == observed.shape:
            allowed = allowed + budget(expected.roundings, self.dtype)
        return bool(np.all(compare(observed, predicted, allowed).error_ratio <= 1))


def observations(subject: Subject, dtype: str) -> Iterator[Observation]:
    """Call a subject on every case of attention that its signature supports, without gradients."""
    arrays = framework(subject.arrays)
    function = subject.operations["attention"]
    for profile in profiles("attention"):
        for case in cases("attention", profile) if profile != GRADIENTS else ():
            if dtype in case.dtypes and not case.is_optional and _is_offered(function, case):
                with contextlib.suppress(Unsupported):
                    yield _observed(subject, function, arrays, case, dtype)


def _is_offered(function: Any, case: Case) -> bool:
    accepted = options_of(signed(function), len(case.call.positional))
    return accepted is None or set(case.call.named) <= accepted


def _observed(subject: Subject, function: Any, arrays: Framework, case: Case, dtype: str) -> Observation:
    kinds = {"f": dtype, "b": "bool", "i": "int64"}
    given = {
        name: int(values)
        if values.dtype.kind == "i" and not values.shape
        else arrays.make(values, kinds[values.dtype.kind])
        for name, values in case.call.inputs.items()
    }
    everything = {**given, **case.call.options}
    positional = [everything[name] for name in case.call.positional]
    try:
        with limited(subject.timeout), warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr):
            warnings.simplefilter("ignore")
            returned = function(*positional, **{name: everything[name] for name in case.call.named})
    except Unsupported:
        raise
    except Late:
        return Observation(case, dtype, {}, {}, is_right=False, error="timeout")
    except Exception as error:
        if isinstance(error, NotImplementedError):
            raise Unsupported(str(error)) from error
        return Observation(case, dtype, {}, {}, is_right=False, error=f"{type(error).__name__}: {error}")
    items = returned if isinstance(returned, (tuple, list)) else [returned]
    if len(items) != len(case.expected) or not all(arrays.is_array(item) for item in items):
        return Observation(case, dtype, {}, {}, is_right=False, error="its return value has the wrong structure")
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
