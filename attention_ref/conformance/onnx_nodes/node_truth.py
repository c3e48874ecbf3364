"""The expected results of a translated call, computed by the specification.

The standard's tests are in float32 and below, so the expected results of attention are computed in float64. Budgets are
computed for a sample of the elements; the others are compared only with the results of the standard.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from attention_ref.conformance.budget import Roundings
from attention_ref.conformance.case import Case, Expected
from attention_ref.spec import Array, Traced
from attention_ref.spec.trace import roundings
from attention_ref.vectors.array_forms import from_spec
from attention_ref.vectors.build import attention_clauses, config_clauses, layer_truth
from attention_ref.vectors.build.recipe import Recipe

SAMPLE = 24
"""The number of elements of a result of attention that get a budget."""

_UNBOUNDED = (np.inf, 0.0, 0.0, 0.0, 0.0)


def case_of(recipe: Recipe, dtype: str) -> Case:
    """Return the case of a call. For attention it has the tap `scores`, without expected values."""
    is_attention = recipe.call.operation == "attention"
    expected, clauses = (_attention if is_attention else _other)(recipe)
    return Case(
        id=recipe.id,
        call=recipe.call,
        profile="onnx",
        clauses=tuple(clauses),
        catches=recipe.catches,
        references=(),
        dtypes=(dtype,),
        expected=expected,
        taps={"scores": _like_weights(recipe)} if is_attention else {},
    )


def _attention(recipe: Recipe) -> tuple[dict[str, Expected], list[str]]:
    arrays = recipe.call.changed(return_weights=True, return_log_sum_exp=True).specified(Traced)
    plain = {name: from_spec(array) for name, array in arrays.items()}
    return {name: _sampled(arrays[name]) for name in recipe.call.results}, attention_clauses.clauses_of(recipe, plain)


def _sampled(array: Array) -> Expected:
    """Compute the budgets of a sample of the inexact elements; exact elements must be equal."""
    moving = [place for place, value in enumerate(array.values) if isinstance(value, Traced) and _is_finite(value)]
    places = moving[:: math.ceil(len(moving) / SAMPLE)] if moving else []
    sizes = np.zeros((len(array.values), len(_UNBOUNDED)))
    sizes[moving] = _UNBOUNDED
    sizes[places] = roundings([array.values[place] for place in places]) or sizes[places]
    return Expected(from_spec(array), Roundings(*(column.reshape(array.shape) for column in sizes.T)))


def _is_finite(value: Traced) -> bool:
    return math.isfinite(float(value))


def _like_weights(recipe: Recipe) -> Expected:
    """Return an intermediate `(b,h,q,k)` without expected values, to be compared with the standard only."""
    nothing = np.full(recipe.call.shape("weights"), np.nan)
    return Expected(nothing, Roundings(*(nothing for _ in _UNBOUNDED)))


def _other(recipe: Recipe) -> tuple[Mapping[str, Expected], list[str]]:
    found = layer_truth.solve(recipe).returned["output"]
    columns = zip(*found.roundings, strict=True)
    sizes = Roundings(*(np.array(column).reshape(found.array.shape) for column in columns))
    return {"output": Expected(found.array, sizes)}, config_clauses.clauses_of(recipe)
