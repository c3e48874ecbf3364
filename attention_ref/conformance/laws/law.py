"""A law: a property that relates the results of several calls, for all inputs.

A law draws calls and returns demands on their results. Every demand is linear,

    sum_t factor_t * result_t   =  (or <=)   sum_t factor_t * result_t + constant

element by element, so that a violated one can be written to a file and evaluated in any language.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from attention_ref.conformance.laws.strategies import EMPTY_ROWS, GROUPS, Draw
from attention_ref.spec.operations import ATTENTIONS, OPERATIONS
from attention_ref.vectors.call import Call

Relation = Literal["=", "<="]
View = Callable[[str, np.ndarray], np.ndarray]


class Term(NamedTuple):
    """Elements of a result, each times a factor.

    Arguments:
        call: the index of the call, from 0.
        result: `output`, `weights` or `log_sum_exp`.
        places: flat indices of the elements, in row-major order.
        factor: one factor for all elements, or one for each.
    """

    call: int
    result: str
    places: np.ndarray
    factor: np.ndarray | float = 1.0


@dataclass(frozen=True, eq=False)
class Demand:
    """A relation that must hold between two sides, element by element; all terms have as many places.

    Arguments:
        left, right: terms to be summed; at least one side has a term.
        relation: `"="` or `"<="`.
        constant: added to the right side; one number, or one for each element.
    """

    left: tuple[Term, ...]
    right: tuple[Term, ...] = ()
    relation: Relation = "="
    constant: np.ndarray | float = 0.0

    @property
    def terms(self) -> tuple[Term, ...]:
        """The terms of both sides."""
        return (*self.left, *self.right)

    @property
    def size(self) -> int:
        """The number of compared elements."""
        return max(term.places.size for term in self.terms)


@dataclass(frozen=True, eq=False)
class Trial:
    """Calls, and the demands on their results."""

    calls: tuple[Call, ...]
    demands: tuple[Demand, ...]


@dataclass(frozen=True)
class Law:
    """A law.

    Arguments:
        id: the name of the law.
        statement: the law as a formula.
        trial: draws calls and returns them with the demands.
        clauses: the ids of the clauses from which it follows.
        operations: the operations to which it applies.
        needs: the options that a subject must have for the law to apply.
        about: the option (or `GROUPS`, `EMPTY_ROWS`) that the law tests. If the law is broken, other laws are tested
            without that option, so that one mistake does not break them all.
    """

    id: str
    statement: str
    trial: Callable[[Draw], Trial]
    clauses: tuple[str, ...]
    operations: tuple[str, ...] = ATTENTIONS
    needs: tuple[str, ...] = ()
    about: str = ""

    def __post_init__(self) -> None:
        known = {GROUPS, EMPTY_ROWS, *(option for name in self.operations for option in OPERATIONS[name].options)}
        if unknown := {*self.needs, *filter(None, [self.about])} - known:
            raise ValueError(f"the law {self.id} names options that no operation has: {', '.join(sorted(unknown))}")


def places(call: Call, result: str) -> np.ndarray:
    """Return the flat index of every element of a result, in its shape, to be sliced and permuted like the result."""
    shape = call.shape(result)
    return np.arange(int(np.prod(shape))).reshape(shape)


def _unchanged(_: str, at: np.ndarray) -> np.ndarray:
    return at


def agreement(
    calls: Sequence[Call],
    *,
    first: int = 0,
    second: int = 1,
    first_view: View = _unchanged,
    second_view: View = _unchanged,
    results: Sequence[str] | None = None,
) -> tuple[Demand, ...]:
    """Demand that two calls return the same.

    Arguments:
        calls: all calls of a trial.
        first, second: the indices of the two calls.
        first_view, second_view: select and permute the places of a result, given its name.
        results: the results to compare; all that both calls return if None.
    """
    names = [name for name in calls[first].results if name in calls[second].results]
    return tuple(
        Demand(
            (Term(first, name, first_view(name, places(calls[first], name))),),
            (Term(second, name, second_view(name, places(calls[second], name))),),
        )
        for name in names
        if results is None or name in results
    )
