"""Cases: one call of an operation with its expected results, read from the vectors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import numpy as np

from attention_ref import vectors
from attention_ref.conformance.budget import Roundings
from attention_ref.spec.clauses import Clause, clauses
from attention_ref.spec.dtypes import COMPUTED
from attention_ref.spec.operations import ATTENTION, ATTENTIONS, OPERATIONS
from attention_ref.vectors.array_forms import from_json
from attention_ref.vectors.call import Call

GRADIENTS = "grad"
"""The profile of the gradient cases."""

_REQUESTS = {result.asked_by: ATTENTION[result.asked_by].clause for result in ATTENTION.results if result.asked_by}


@dataclass(frozen=True, eq=False)
class Expected:
    """The expected values of one result, and the size of the rounding errors of each element."""

    values: np.ndarray
    roundings: Roundings


@dataclass(frozen=True, eq=False)
class Case:
    """One call of an operation with its expected results.

    Arguments:
        id: `operation/profile/name`.
        call: the operation and all of its arguments.
        profile: the group of cases that it belongs to.
        clauses: ids of the clauses that decide its outcome, without foundations.
        catches: the bug that the case catches.
        references: references to reports of that bug.
        dtypes: dtypes in which the inputs are exactly representable.
        expected: `output` and, if requested, `weights` and `log_sum_exp`, in that order.
        gradient: the cotangents and expected gradients as stored in the vectors, or None.
        cotangents: in the profile `grad`, the arrays that multiply the results; the expected results are the gradients
            of the sum of these products, by input name.
        taps: every intermediate of a layer, in order of computation.
        bug: the kind of bug that it catches, one of `vectors.bugs()`; empty where the case is not of the vectors.
    """

    id: str
    call: Call
    profile: str
    clauses: tuple[str, ...]
    catches: str
    references: tuple[str, ...]
    dtypes: tuple[str, ...]
    expected: Mapping[str, Expected]
    gradient: Mapping[str, Any] | None = None
    cotangents: Mapping[str, np.ndarray] = field(default_factory=dict)
    taps: Mapping[str, Expected] = field(default_factory=dict)
    bug: str = ""

    @property
    def operation(self) -> str:
        """The name of the operation."""
        return self.call.operation

    @property
    def is_optional(self) -> bool:
        """Whether its outcome depends on an optional clause."""
        return any(name in clauses() and clauses()[name].optional for name in self.clauses)


def profiles(operation: str) -> list[str]:
    """Return the profiles of an operation: those of its vectors and, for attention, `grad`."""
    return vectors.profiles(operation) + [GRADIENTS] * (operation in ATTENTIONS)


@cache
def cases(operation: str, profile: str) -> tuple[Case, ...]:
    """Return the cases of a profile. The profile `grad` holds the gradients of the cases of all other profiles."""
    if profile == GRADIENTS and operation in ATTENTIONS:
        every = (case for name in vectors.profiles(operation) for case in cases(operation, name))
        return tuple(_differentiated(case) for case in every if case.gradient is not None)
    document = vectors.load(operation, profile)
    return tuple(case_of(operation, profile, item) for item in document["cases"])


def all_cases() -> Iterator[Case]:
    """Yield every case of every operation."""
    for operation in vectors.operations():
        for profile in profiles(operation):
            yield from cases(operation, profile)


def foundations(operation: str) -> list[Clause]:
    """Return the clauses that every case of an operation depends on."""
    prefix = f"{OPERATIONS[operation].group}."
    return [clause for clause in clauses().values() if clause.foundation and clause.id.startswith(prefix)]


def case_of(operation: str, profile: str, item: Mapping[str, Any]) -> Case:
    """Make a case from its JSON object in the vectors."""
    return Case(
        id=item["id"],
        call=Call.from_json(operation, item),
        profile=profile,
        clauses=tuple(item["clauses"]),
        catches=item["catches"],
        references=tuple(item.get("references", ())),
        dtypes=tuple(item["dtypes"]),
        expected={name: _expected(result) for name, result in item["expected"].items()},
        gradient=item.get("gradient"),
        taps={name: _expected(result) for name, result in item.get("taps", {}).items()},
        bug=item.get("bug", ""),
    )


def _differentiated(case: Case) -> Case:
    """Return the gradient case of a case, in the dtypes of the arithmetic."""
    gradient = dict(case.gradient or {})
    return replace(
        case,
        id=case.id.replace("/", f"/{GRADIENTS}/", 1),
        profile=GRADIENTS,
        clauses=("attention.gradients", *(name for name in case.clauses if name not in _REQUESTS.values())),
        call=case.call.changed(**dict.fromkeys(_REQUESTS)),
        dtypes=tuple(dtype for dtype in case.dtypes if dtype in COMPUTED),
        expected={name: _expected(result) for name, result in gradient["expected"].items()},
        gradient=None,
        cotangents={name: _array(array) for name, array in gradient["cotangents"].items()},
    )


def _expected(result: Mapping[str, Any]) -> Expected:
    values = _array(result)
    sizes = {name: _array({"shape": result["shape"], "values": size}) for name, size in result["rounding"].items()}
    return Expected(values, Roundings(**sizes))


def _array(item: Mapping[str, Any]) -> np.ndarray:
    array = from_json(item)
    array.flags.writeable = False
    return array
