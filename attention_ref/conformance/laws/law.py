"""What a law is: a statement about results of several calls, which holds whatever the numbers are.

A law draws calls and says what it demands of their results. Every demand is linear,

    sum_t factor_t * result_t   =  (or <=)   sum_t factor_t * result_t + constant

number by number, so that a broken one can be written to a file and tried again from any language.
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
    """Numbers of a result, each times a factor.

    Arguments:
        call: which of the calls, from 0 on.
        result: `output`, `weights` or `log_sum_exp`.
        places: where the numbers stand in it, counted in row-major order.
        factor: one for all numbers, or one for each.
    """

    call: int
    result: str
    places: np.ndarray
    factor: np.ndarray | float = 1.0


@dataclass(frozen=True, eq=False)
class Demand:
    """What must hold between two sides; the sides have as many numbers as the places of their terms.

    Arguments:
        left, right: terms that are added up; at least one on one of the sides.
        relation: `"="` or `"<="`.
        constant: is added to the right side; one number, or one for each.
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
        """How many numbers are compared."""
        return max(term.places.size for term in self.terms)


@dataclass(frozen=True, eq=False)
class Trial:
    """Calls, and what is demanded of their results."""

    calls: tuple[Call, ...]
    demands: tuple[Demand, ...]


@dataclass(frozen=True)
class Law:
    """A law.

    Arguments:
        id: its name.
        statement: the law as a formula.
        trial: draws calls and gives them with the demands.
        clauses: the ids of the clauses that it follows from.
        operations: of which operations it holds.
        needs: the options that a subject must have, so that the law says something of it.
        about: the option (or `GROUPS`, `EMPTY_ROWS`) that is at stake. Where the law is broken, other laws are tried
            without it, so that one mistake does not break them all.
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
    """Return the place of every number of a result, in its shape: what is done to them is done to the numbers."""
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
    """Demand that two calls give the same.

    Arguments:
        calls: all calls of a trial.
        first, second: which two of them.
        first_view, second_view: choose and arrange the places of a result, by its name.
        results: which results; all that both return when None.
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
