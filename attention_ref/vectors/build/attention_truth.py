"""The truth of a case: the specification in 50 digits, its gradients, and the size of rounding errors in both.

The specification runs once on `Traced(mpf)`, which gives values and the rounding of values, and once on
`Traced(Traced(mpf))`: the gradients of the outer record are themselves recorded by the inner one, which gives the
rounding of gradients. Results are rounded to float64, the sizes of rounding errors up to three digits.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from decimal import ROUND_CEILING, Context
from typing import Any, NamedTuple

import numpy as np
from mpmath import MPContext

from attention_ref.spec import Array, Traced
from attention_ref.spec.numbers import stored
from attention_ref.spec.trace import ELEMENTARY_UNITS, Rounding, ancestors, gradients, roundings
from attention_ref.vectors.array_forms import from_spec
from attention_ref.vectors.build.hashed_inputs import real_values
from attention_ref.vectors.build.recipe import Recipe
from attention_ref.vectors.call import Call, spec_arrays

DIGITS = 50
_PRECISE = MPContext()
_PRECISE.dps = DIGITS
_FLOAT32_BITS = 24
_THREE_DIGITS = Context(prec=3, rounding=ROUND_CEILING)
_EXACT = Rounding(0.0, 0.0, 0.0, 0.0)


class Result(NamedTuple):
    """Expected values and, for each of them, the size of its rounding errors."""

    array: np.ndarray
    roundings: list[Rounding]


class Gradient(NamedTuple):
    """Expected gradients of every real input for the cotangent of the output."""

    cotangent: np.ndarray
    expected: dict[str, Result]


def precise(value: float) -> Traced:
    """Return an exact number of `DIGITS` digits that records what is computed of it."""
    return Traced(_PRECISE.mpf(value))


def forward(recipe: Recipe) -> dict[str, Result]:
    """Return `output`, `weights` and `log_sum_exp`."""
    call = recipe.call.changed(return_weights=True, return_log_sum_exp=True)
    arrays = call.specified(precise)
    values = [value for array in arrays.values() for value in array.values]
    if _has_infinities(call):
        _part_from_infinities(values)
    if recipe.exact_scores:
        _exempt_scores(recipe, values)
    return {name: _result(array) for name, array in arrays.items()}


def backward(recipe: Recipe, output: np.ndarray) -> Gradient:
    """Return the gradient of `sum(cotangent * output)` by every real input; the cotangent is hashed like an input."""
    cotangent = np.array(real_values(recipe.id, "cotangent", output.size)).reshape(output.shape)
    call = recipe.call.changed(return_weights=None, return_log_sum_exp=None)
    inputs = spec_arrays(call.inputs, lambda value: Traced(Traced(_PRECISE.mpf(value))))
    leaves = {name: array for name, array in inputs.items() if array.dtype == "real"}
    traced = call.specified(inputs=inputs)["output"]
    pairs = [
        (value, Traced(_PRECISE.mpf(amount)))
        for value, amount in zip(traced.values, cotangent.ravel().tolist(), strict=True)
        if isinstance(value, Traced)
    ]
    numbers = [value for array in leaves.values() for value in array.values]
    found = iter(gradients([value for value, _ in pairs], [amount for _, amount in pairs], numbers))
    expected = {
        name: Array(array.shape, [stored(next(found)) for _ in array.values], "real") for name, array in leaves.items()
    }
    if _has_infinities(call):
        _part_from_infinities([value for array in expected.values() for value in array.values])
    return Gradient(cotangent, {name: _result(array) for name, array in expected.items()})


def _result(array: Array) -> Result:
    """Round to float64. What is exact has no rounding: zeros of an empty row, infinities, NaN."""
    places = inexact(array)
    sizes = zip(places, roundings([array.values[place] for place in places]), strict=True)
    return rounded(array, dict(sizes))


def inexact(array: Array) -> list[int]:
    """Return the places of the numbers that rounding may move."""
    return [
        place for place, value in enumerate(array.values) if isinstance(value, Traced) and math.isfinite(float(value))
    ]


def rounded(array: Array, sizes: Mapping[int, Rounding]) -> Result:
    """Round values to float64 and the sizes of their rounding errors, by place, to three digits."""
    cut = {place: Rounding(*map(three_digits, rounding)) for place, rounding in sizes.items()}
    return Result(from_spec(array), [cut.get(place, _EXACT) for place in range(len(array.values))])


def _has_infinities(call: Call) -> bool:
    return any(np.isinf(array).any() for array in call.inputs.values() if array.dtype.kind == "f")


def _part_from_infinities(outputs: Sequence[Any]) -> None:
    """Let a finite number that was made of an infinite one, such as exp(-inf), not move with it: 0 * inf is no size."""
    for node in ancestors([value for value in outputs if isinstance(value, Traced)]):
        if any(not math.isfinite(parent.value) for parent, _ in node.parents):
            node.parents = ()


def three_digits(size: float) -> float:
    """Round up to three significant digits."""
    if not math.isfinite(size):
        raise ValueError("the size of a rounding error must be finite; the case's numbers are too large for float64")
    return float(_THREE_DIGITS.create_decimal_from_float(size))


def _exempt_scores(recipe: Recipe, outputs: Sequence[Any]) -> None:
    """Count no rounding for the operations of exact scores, after proving that float32 holds them in any order."""
    query, key = recipe.call.inputs["query"], recipe.call.inputs["key"]
    grid = _grid(query.ravel().tolist()) * _grid(key.ravel().tolist())
    largest = float(np.abs(query).max()) * float(np.abs(key).max()) * query.shape[-1]
    if largest > grid * 2**_FLOAT32_BITS:
        raise ValueError(f"{recipe.id}: a dot product may round in float32")
    for node in _score_nodes([value for value in outputs if isinstance(value, Traced)]):
        if abs(node.value.man).bit_length() > _FLOAT32_BITS:
            raise ValueError(f"{recipe.id}: the score's term {float(node.value)!r} is not exact in float32")
        node.units = 0


def _grid(values: Sequence[float]) -> float:
    """The largest power of two that divides every value."""
    ratios = [value.as_integer_ratio() for value in values if value]
    return min((numerator & -numerator) / denominator for numerator, denominator in ratios)


def _score_nodes(outputs: Sequence[Traced]) -> set[Traced]:
    """Everything that an exponential was taken of. It is told by its derivative, which is itself."""
    exponentials = (
        node
        for node in ancestors(outputs)
        if node.units == ELEMENTARY_UNITS and node.parents and node.parents[0][1] is node.value
    )
    return ancestors([parent for node in exponentials for parent, _ in node.parents])
