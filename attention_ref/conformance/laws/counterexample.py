"""Counterexamples as JSON: minimal calls that break a law, with all data needed to run them again.

- `format_version`, `spec`, `subject`, `law`, `statement`, `clauses`, `operation`, `dtype`.
- `calls`: the arguments of each call: `inputs` (arrays as in the vectors), `options` and, of a layer, `config`,
  `parameters` and `chunks`; `returns`, the names of its results in order; `came`, the results of the subject.
- `demands`: `left` and `right`, lists of terms `{call, result, places, factors}`; `relation`, `=` or `<=`; `constants`
  and `budgets`. For every i,

      sum over left of factors[i] * result[places[i]]
          relation  sum over right of factors[i] * result[places[i]] + constants[i]

  must hold up to `budgets[i]`. Calls count from 0; places are flat indices in row-major order. NaN satisfies nothing.
- `failure`: the violated `demand`, its `number` i and both sides `left` and `right`; or a failed `call` and `reason`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np

from attention_ref.conformance.errors import UsageError
from attention_ref.conformance.laws.evaluate import Outcome, allowed
from attention_ref.conformance.laws.law import Demand, Relation, Term, Trial
from attention_ref.spec import VERSION
from attention_ref.spec.dtypes import DTYPES
from attention_ref.spec.operations import OPERATIONS
from attention_ref.vectors.array_forms import encoded, to_json
from attention_ref.vectors.call import Call

FORMAT_VERSION = 2
_FIELDS = ("format_version", "law", "statement", "operation", "dtype", "calls", "demands")


def document(outcome: Outcome, about: Mapping[str, Any]) -> dict[str, Any]:
    """Return a broken trial as data for JSON.

    Arguments:
        outcome: the outcome of the trial.
        about: `subject`, `law`, `statement`, `clauses`, `operation` and `dtype`.
    """
    trial, dtype = outcome.trial, about["dtype"]
    answers = [*outcome.answers, *({} for _ in trial.calls)]
    return {
        "format_version": FORMAT_VERSION,
        "spec": VERSION,
        **about,
        "calls": [_call(each, answer) for each, answer in zip(trial.calls, answers, strict=False)],
        "demands": [_demand(each, allowed(trial, each, dtype)) for each in trial.demands],
        "failure": failure(outcome),
    }


def failure(outcome: Outcome) -> dict[str, Any]:
    """Return the violated demand with both sides, or the failed call with the reason."""
    if outcome.fault is not None:
        return {"call": len(outcome.answers), "reason": outcome.fault.reason, "where": outcome.fault.where}
    if outcome.broken is None:
        return {}
    found = outcome.judgements[outcome.broken]
    number = int(np.argmax(found.error_ratio))
    sides = {name: float(getattr(found, name)[number]) for name in ("left", "right", "error", "budget", "error_ratio")}
    return {"demand": outcome.broken, "number": number, **encoded(sides)}


def read(path: str | Path) -> dict[str, Any]:
    """Read a file of a counterexample.

    Raises:
        UsageError: if it is not a counterexample.
    """
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error
    except RecursionError as error:
        raise UsageError(f"{path} cannot be read: the JSON is nested too deeply") from error
    if isinstance(data, dict) and data.get("format") == 1:  # version 1 differs in the name of this field alone
        data["format_version"] = FORMAT_VERSION
    if not isinstance(data, dict) or (missing := [name for name in _FIELDS if name not in data]):
        lacking = "" if not isinstance(data, dict) else f": missing fields {', '.join(missing)}"
        raise UsageError(f"{path} is not a counterexample of a law{lacking}")
    clauses = data.get("clauses", [])
    texts = [data[name] for name in ("law", "statement", "operation", "dtype")]
    texts += clauses if isinstance(clauses, list) else [None]
    if not all(isinstance(text, str) for text in texts):
        raise UsageError(f"{path} is not a counterexample of a law: its names are not strings")
    if data["format_version"] != FORMAT_VERSION or data["operation"] not in OPERATIONS or data["dtype"] not in DTYPES:
        raise UsageError(f"{path} is a counterexample of an unknown format or version")
    return data


def trial_of(data: Mapping[str, Any], path: str | Path) -> tuple[Trial, list[np.ndarray]]:
    """Return the calls and demands of a counterexample that was read, and the budgets of each demand.

    Raises:
        UsageError: if they are malformed or inconsistent.
    """
    try:
        trial, budgets = _trial(data)
        for demand, budget in zip(trial.demands, budgets, strict=True):
            _check(demand, budget, trial.calls)
        if not budgets:
            raise ValueError("it has no demands")
    except (ArithmeticError, AttributeError, LookupError, StopIteration, TypeError, ValueError) as error:
        raise UsageError(f"{path} is not a counterexample of a law: {type(error).__name__}: {error}") from error
    return trial, budgets


def _check(demand: Demand, budgets: np.ndarray, calls: Sequence[Call]) -> None:
    """Check that a demand refers to existing elements of the results.

    Raises:
        ValueError: if it does not.
    """
    if demand.relation not in get_args(Relation):
        raise ValueError(f"a relation must be {' or '.join(get_args(Relation))}, not {demand.relation!r}")
    if not demand.terms:
        raise ValueError("a demand must have a term")
    shapes = {term.places.shape for term in demand.terms} | {budgets.shape, np.shape(demand.constant)}
    if len(shapes) != 1 or budgets.ndim != 1 or not (budgets >= 0).all():
        raise ValueError(
            "places, factors, constants and budgets must be lists of the same length, with budgets of at least 0"
        )
    for term in demand.terms:
        if not 0 <= term.call < len(calls) or term.result not in calls[term.call].results:
            raise ValueError(f"no call {term.call} returns {term.result!r}")
        size = math.prod(calls[term.call].shape(term.result))
        if np.shape(term.factor) != term.places.shape or not ((term.places >= 0) & (term.places < size)).all():
            raise ValueError(f"a place of {term.result} must lie between 0 and {size - 1} and have a factor")


def _trial(data: Mapping[str, Any]) -> tuple[Trial, list[np.ndarray]]:
    operation = data["operation"]
    calls = tuple(Call.from_json(operation, each) for each in data["calls"])
    demands = tuple(
        Demand(_terms(each["left"]), _terms(each["right"]), each["relation"], _reals(each["constants"]))
        for each in data["demands"]
    )
    return Trial(calls, demands), [_reals(each["budgets"]) for each in data["demands"]]


def _call(call: Call, answer: Mapping[str, np.ndarray]) -> dict[str, Any]:
    results = {name: to_json(array) for name, array in answer.items()}
    return {**call.to_json(), "returns": list(call.results), "came": results}


def _demand(demand: Demand, budgets: np.ndarray) -> dict[str, Any]:
    constants = np.broadcast_to(np.ravel(demand.constant).astype(np.float64), (demand.size,))
    return {
        "left": [_term(each) for each in demand.left],
        "relation": demand.relation,
        "right": [_term(each) for each in demand.right],
        "constants": encoded(constants.tolist()),
        "budgets": encoded(budgets.tolist()),
    }


def _term(term: Term) -> dict[str, Any]:
    factors = np.broadcast_to(np.asarray(term.factor, np.float64), term.places.shape)
    return {
        "call": term.call,
        "result": term.result,
        "places": term.places.ravel().tolist(),
        "factors": encoded(factors.ravel().tolist()),
    }


def _terms(data: Sequence[Mapping[str, Any]]) -> tuple[Term, ...]:
    return tuple(
        Term(each["call"], each["result"], np.array(each["places"], np.int64), _reals(each["factors"])) for each in data
    )


def _reals(values: Sequence[Any]) -> np.ndarray:
    return np.array(values, np.float64)
