"""Cases: one call of an operation with its expected results, read from the vectors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import numpy as np

from attention_ref import vectors
from attention_ref.conformance.budget import Roundings
from attention_ref.conformance.case_heads import GRADIENTS, REQUESTS, CaseHead, profiles
from attention_ref.spec.clauses import clauses
from attention_ref.spec.operations import ATTENTIONS
from attention_ref.vectors.array_forms import from_json
from attention_ref.vectors.call import Call


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
    def head(self) -> CaseHead:
        """What is known of it without its arrays."""
        about = (self.clauses, self.catches, self.references, self.dtypes)
        return CaseHead(self.id, self.operation, self.profile, *about)

    @property
    def is_optional(self) -> bool:
        """Whether its outcome depends on an optional clause."""
        return any(name in clauses() and clauses()[name].optional for name in self.clauses)


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
    """Return the gradient case of a case."""
    gradient = dict(case.gradient or {})
    head = case.head.of_gradients()
    return replace(
        case,
        id=head.id,
        profile=head.profile,
        clauses=head.clauses,
        call=case.call.changed(**dict.fromkeys(REQUESTS)),
        dtypes=head.dtypes,
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
