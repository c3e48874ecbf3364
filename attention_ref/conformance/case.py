"""Cases: one call of an operation with its truth, read from the vectors."""

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
"""The profile of the cases that ask for gradients."""

_REQUESTS = {result.asked_by: ATTENTION[result.asked_by].clause for result in ATTENTION.results if result.asked_by}


@dataclass(frozen=True, eq=False)
class Expected:
    """The values of one result, and the size of the rounding errors in each."""

    values: np.ndarray
    roundings: Roundings


@dataclass(frozen=True, eq=False)
class Case:
    """One call of an operation with its truth.

    Arguments:
        id: `operation/profile/name`.
        call: what is called, and all that it is given.
        profile: the group of cases that it belongs to.
        clauses: the ids of the clauses that decide its outcome, foundations not listed.
        hunts: the bug that it catches.
        seen: where that bug was seen.
        dtypes: in which its inputs are exact.
        expected: `output` and, where asked for, `weights` and `log_sum_exp`, in that order.
        gradient: the cotangents and expected gradients as the vectors hold them, or None.
        cotangents: of a case of the profile `grad`: what the results are multiplied by before they are summed. Its
            expected results are the gradients of that sum, by the names of the inputs.
        taps: every intermediate of a layer, in the order in which it is computed.
    """

    id: str
    call: Call
    profile: str
    clauses: tuple[str, ...]
    hunts: str
    seen: tuple[str, ...]
    dtypes: tuple[str, ...]
    expected: Mapping[str, Expected]
    gradient: Mapping[str, Any] | None = None
    cotangents: Mapping[str, np.ndarray] = field(default_factory=dict)
    taps: Mapping[str, Expected] = field(default_factory=dict)

    @property
    def operation(self) -> str:
        """The name of what is called."""
        return self.call.operation

    @property
    def is_optional(self) -> bool:
        """Whether an optional clause decides it."""
        return any(name in clauses() and clauses()[name].optional for name in self.clauses)


def profiles(operation: str) -> list[str]:
    """Return the names of an operation's groups of cases: those of the vectors and, for attention, `grad`."""
    return vectors.profiles(operation) + [GRADIENTS] * (operation in ATTENTIONS)


@cache
def cases(operation: str, profile: str) -> tuple[Case, ...]:
    """Return the cases of a profile. Those of `grad` ask for the gradients of the cases of all the others."""
    if profile == GRADIENTS and operation in ATTENTIONS:
        every = (case for name in vectors.profiles(operation) for case in cases(operation, name))
        return tuple(_differentiated(case) for case in every if case.gradient is not None)
    document = vectors.load(operation, profile)
    return tuple(case_of(operation, profile, item) for item in document["cases"])


def all_cases() -> Iterator[Case]:
    """Go through every case of every operation."""
    for operation in vectors.operations():
        for profile in profiles(operation):
            yield from cases(operation, profile)


def foundations(operation: str) -> list[Clause]:
    """Return the clauses that every case of an operation depends on."""
    prefix = f"{OPERATIONS[operation].group}."
    return [clause for clause in clauses().values() if clause.foundation and clause.id.startswith(prefix)]


def case_of(operation: str, profile: str, item: Mapping[str, Any]) -> Case:
    """Read a case as the vectors hold it."""
    return Case(
        id=item["id"],
        call=Call.from_json(operation, item),
        profile=profile,
        clauses=tuple(item["clauses"]),
        hunts=item["hunts"],
        seen=tuple(item.get("seen", ())),
        dtypes=tuple(item["dtypes"]),
        expected={name: _expected(result) for name, result in item["expected"].items()},
        gradient=item.get("gradient"),
        taps={name: _expected(result) for name, result in item.get("taps", {}).items()},
    )


def _differentiated(case: Case) -> Case:
    """Return the case that asks for the gradients of a case's output, in the dtypes that are computed in."""
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
