"""What is known of every case without its arrays: enough to list cases, and those of a clause."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple

from attention_ref import vectors
from attention_ref.spec.clauses import Clause, clauses
from attention_ref.spec.dtypes import COMPUTED
from attention_ref.spec.operations import ATTENTION, ATTENTIONS, OPERATIONS
from attention_ref.vectors.heads import heads_in

GRADIENTS = "grad"
"""The profile of the gradient cases."""

REQUESTS = {result.asked_by: ATTENTION[result.asked_by].clause for result in ATTENTION.results if result.asked_by}
"""The clauses of the options that request further results of attention, by the name of the option."""


class CaseHead(NamedTuple):
    """A case without its arrays; the fields are described in `Case`."""

    id: str
    operation: str
    profile: str
    clauses: tuple[str, ...]
    catches: str
    references: tuple[str, ...]
    dtypes: tuple[str, ...]

    def of_gradients(self) -> CaseHead:
        """Return the head of the case's gradient case, whose dtypes are those of the arithmetic."""
        return self._replace(
            id=self.id.replace("/", f"/{GRADIENTS}/", 1),
            profile=GRADIENTS,
            clauses=("attention.gradients", *(name for name in self.clauses if name not in REQUESTS.values())),
            dtypes=tuple(dtype for dtype in self.dtypes if dtype in COMPUTED),
        )


def profiles(operation: str) -> list[str]:
    """Return the profiles of an operation: those of its vectors and, for attention, `grad`."""
    return vectors.profiles(operation) + [GRADIENTS] * (operation in ATTENTIONS)


@cache
def heads(operation: str, profile: str) -> tuple[CaseHead, ...]:
    """Return the heads of the cases of a profile, in their order."""
    if profile == GRADIENTS and operation in ATTENTIONS:
        found = [pair for name in vectors.profiles(operation) for pair in _read(operation, name)]
        return tuple(head.of_gradients() for head, has_gradient in found if has_gradient)
    return tuple(head for head, _ in _read(operation, profile))


def all_heads() -> Iterator[CaseHead]:
    """Yield the head of every case of every operation."""
    for operation in vectors.operations():
        for profile in profiles(operation):
            yield from heads(operation, profile)


@cache
def foundations(operation: str) -> tuple[Clause, ...]:
    """Return the clauses that every case of an operation depends on."""
    prefix = f"{OPERATIONS[operation].group}."
    return tuple(clause for clause in clauses().values() if clause.foundation and clause.id.startswith(prefix))


@cache
def _read(operation: str, profile: str) -> list[tuple[CaseHead, bool]]:
    """Return the head of every case of a file of vectors, and whether the case has gradients."""
    found = heads_in(vectors.read(operation, profile))
    return [(_head(operation, profile, item), item["gradient"]) for item in found]


def _head(operation: str, profile: str, item: Mapping[str, Any]) -> CaseHead:
    clauses, references, dtypes = (tuple(item.get(name, ())) for name in ("clauses", "references", "dtypes"))
    return CaseHead(item["id"], operation, profile, clauses, item["catches"], references, dtypes)
