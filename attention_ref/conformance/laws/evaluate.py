"""Evaluate a law on drawn calls: call the subject, compute the budgets, compare.

Two results that must agree may differ by the sum of their budgets. A budget bounds the rounding error of a result in
the specification's formula. It is computed for the call itself, and only if a difference is found.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np

from attention_ref.conformance.budget import Roundings, budget, compare
from attention_ref.conformance.case import Case, Expected
from attention_ref.conformance.errors import SubjectError
from attention_ref.conformance.laws.law import Demand, Term, Trial
from attention_ref.conformance.subjects.subject import Subject
from attention_ref.spec import Array, Traced
from attention_ref.vectors.build.rounding_sizes import roundings
from attention_ref.vectors.call import Call

_EXACT = (0.0,) * len(Roundings._fields)
_NONE = Roundings(*(np.zeros(()) for _ in range(4)))
Answers = Sequence[Mapping[str, np.ndarray]]


@dataclass(frozen=True, eq=False)
class Judgement:
    """The evaluation of a demand element by element; an error / budget (`error_ratio`) above 1 violates it."""

    left: np.ndarray
    right: np.ndarray
    error: np.ndarray
    budget: np.ndarray
    error_ratio: np.ndarray


@dataclass(frozen=True, eq=False)
class Outcome:
    """The outcome of a trial.

    Arguments:
        trial: the calls and demands.
        answers: the results of the calls, up to a call that failed.
        judgements: one for every demand; none if a call failed.
        fault: a non-numerical failure of a call, if any.
    """

    trial: Trial
    answers: Answers
    judgements: tuple[Judgement, ...] = ()
    fault: SubjectError | None = None

    @property
    def error_ratio(self) -> float:
        """The largest error / budget."""
        return max((float(each.error_ratio.max(initial=0)) for each in self.judgements), default=0.0)

    @property
    def broken(self) -> int | None:
        """The index of the first violated demand."""
        return next((i for i, each in enumerate(self.judgements) if each.error_ratio.max(initial=0) > 1), None)

    @property
    def holds(self) -> bool:
        """Whether every demand is satisfied."""
        return self.fault is None and self.broken is None


class Tape:
    """The specification's record of a call for rounding errors, made on first use."""

    def __init__(self, call: Call) -> None:
        self.call = call

    def budget(self, result: str, places: np.ndarray, dtype: str) -> np.ndarray:
        """Return the error budgets of elements of a result."""
        values = self.results[result].values
        wanted = [place for place in np.unique(places) if isinstance(values[place], Traced)]
        sizes = dict(zip(wanted, roundings([values[place] for place in wanted]), strict=True))
        rows = np.array([sizes.get(place, _EXACT) for place in places.ravel()], np.float64).reshape(-1, len(_EXACT))
        return budget(Roundings(*rows.T), dtype).reshape(places.shape)

    @cached_property
    def results(self) -> dict[str, Array]:
        """The results as traced numbers."""
        return self.call.specified(Traced)


def tried(subject: Subject, trial: Trial, dtype: str, budgets: Sequence[np.ndarray] | None = None) -> Outcome:
    """Evaluate a trial on a subject.

    Arguments:
        subject: the subject to call.
        trial: the calls and the demands.
        dtype: the dtype of the calls.
        budgets: the budgets of every demand; computed if None.

    Raises:
        Unsupported: if the subject does not support a call.
    """
    answers: list[Mapping[str, np.ndarray]] = []
    for number, each in enumerate(trial.calls):
        try:
            answers.append(subject.answer(_case(each, f"call {number + 1}"), dtype).results)
        except SubjectError as fault:
            return Outcome(trial, answers, fault=fault)
    tapes = [Tape(each) for each in trial.calls]
    judgements = [
        _judged(demand, answers, tapes, dtype, None if budgets is None else budgets[number])
        for number, demand in enumerate(trial.demands)
    ]
    return Outcome(trial, answers, tuple(judgements))


def allowed(trial: Trial, demand: Demand, dtype: str) -> np.ndarray:
    """Return the budgets of a demand."""
    return _allowed(demand, [Tape(call) for call in trial.calls], dtype)


def _judged(demand: Demand, answers: Answers, tapes: Sequence[Tape], dtype: str, given: np.ndarray | None) -> Judgement:
    left = _side(demand.left, answers, demand.size, 0.0)
    right = _side(demand.right, answers, demand.size, demand.constant)
    is_met = (left == right) if demand.relation == "=" else (left <= right)
    if given is not None:
        may_differ = given
    else:
        may_differ = np.zeros(demand.size) if is_met.all() else _allowed(demand, tapes, dtype)
    error, _, error_ratio = compare(left, right, may_differ)
    error_ratio = np.where(np.isnan(left) | np.isnan(right), np.inf, np.where(is_met, 0.0, error_ratio))
    return Judgement(left, right, np.where(is_met, 0.0, error), may_differ, error_ratio)


def _side(terms: Sequence[Term], answers: Answers, size: int, constant: Any) -> np.ndarray:
    """Sum a side; if it has several terms, without intermediate rounding."""
    constants = np.broadcast_to(np.ravel(constant).astype(np.float64), (size,))
    numbers = [answers[term.call][term.result].ravel()[term.places.ravel()] for term in terms]
    factors = [np.broadcast_to(np.asarray(term.factor, np.float64), term.places.shape).ravel() for term in terms]
    if len(terms) == 1 and not constants.any() and np.all(factors[0] == 1):
        return numbers[0]
    sums = (_sum([(f[i], x[i]) for f, x in zip(factors, numbers, strict=True)], constants[i]) for i in range(size))
    return np.fromiter(sums, np.float64, size)


def _sum(products: Sequence[tuple[float, float]], constant: float) -> float:
    if not all(map(math.isfinite, (constant, *(number for pair in products for number in pair)))):
        return float(sum((f * x for f, x in products), constant))
    return float(sum((Fraction(f) * Fraction(x) for f, x in products), Fraction(constant)))


def _allowed(demand: Demand, tapes: Sequence[Tape], dtype: str) -> np.ndarray:
    total = np.zeros(demand.size)
    for term in demand.terms:
        total += (np.abs(term.factor) * tapes[term.call].budget(term.result, term.places, dtype)).ravel()
    return total


def _case(call: Call, name: str) -> Case:
    """Return a case of a call without expected results."""
    shapes = {result: call.shape(result) for result in call.results}
    expected = {result: Expected(np.broadcast_to(np.zeros(()), shape), _NONE) for result, shape in shapes.items()}
    return Case(name, call, profile="laws", clauses=(), catches="", references=(), dtypes=(), expected=expected)
