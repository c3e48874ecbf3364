"""The expected results of configured operations: positional codes, linear maps, norms, activations and layers.

The specification runs once on `Traced(mpf)`. Every intermediate passed to the tap of a layer
also has expected values and rounding sizes. A layer that decodes in chunks is expected to equal a single call.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from attention_ref.spec import Array, Traced
from attention_ref.spec.config import MixtureConfig
from attention_ref.spec.numbers import stored
from attention_ref.spec.trace import gaps, gradients, has_certain_sign
from attention_ref.vectors.build import rounding_sizes
from attention_ref.vectors.build.attention_truth import Gradient, Result, inexact, precise, rounded
from attention_ref.vectors.build.hashed_inputs import real_values
from attention_ref.vectors.build.recipe import Recipe
from attention_ref.vectors.call import Call, spec_arrays

_LARGEST_EXACT = 2**8
"""Up to which bfloat16 holds every integer."""


class Solution(NamedTuple):
    """The results of a call and its intermediates, by name, in order."""

    returned: dict[str, Result]
    taps: dict[str, Result]


class UncertainChoiceError(ValueError):
    """Rounding could change which experts are chosen, so that the results are not those of every backend."""


def solve(recipe: Recipe) -> Solution:
    """Return the expected results of a case, with intermediates unless the recipe leaves them out.

    Raises:
        UncertainChoiceError: where rounding could change which experts are chosen.
    """
    call, with_taps = recipe.call, recipe.taps
    taps: dict[str, Array] = {}
    returned = call.specified(precise, tap=taps.__setitem__)
    _require_certain_choices(recipe, returned.values())
    found = _results({"": returned, "tap": taps if with_taps and not call.chunks else {}})
    return Solution(found[""], found["tap"])


def backward(recipe: Recipe, output: np.ndarray) -> Gradient:
    """Return the gradients of `sum(cotangent * output)` of a layer with respect to every real input and parameter."""
    call = recipe.call
    cotangent = np.array(real_values(recipe.id, "cotangent", output.size)).reshape(output.shape)
    inputs, parameters = (spec_arrays(arrays, _differentiable) for arrays in (call.inputs, call.parameters))
    traced = call.specified(precise, inputs=inputs, parameters=parameters)["output"]
    leaves = {name: array for name, array in {**inputs, **parameters}.items() if array.dtype == "real"}
    numbers = [number for array in leaves.values() for number in array.values]
    found = iter(gradients(traced.values, [precise(amount) for amount in cotangent.ravel().tolist()], numbers))
    expected = {
        name: Array(array.shape, [stored(next(found)) for _ in array.values], "real") for name, array in leaves.items()
    }
    return Gradient(cotangent, _results({"": expected})[""])


def _require_certain_choices(recipe: Recipe, results: Iterable[Array]) -> None:
    """Refuse a case unless every gap between a chosen score and the next is beyond rounding errors, or an exact tie."""
    outputs = [value for array in results for value in array.values if isinstance(value, Traced)]
    found = [gap for gap in gaps(outputs) if math.isfinite(float(gap))]
    if recipe.exact_scores and _has_exact_logits(recipe.call):
        found = [gap for gap in found if gap != 0]
    pairs = zip(found, rounding_sizes.roundings(found), strict=True)
    uncertain = [float(gap) for gap, size in pairs if not has_certain_sign(gap, size)]
    if uncertain:
        raise UncertainChoiceError(f"{recipe.id}: rounding could change a choice by a gap of {min(uncertain):.1e}")


def _has_exact_logits(call: Call) -> bool:
    """Return whether the logits of a router are integers that every dtype holds, and so are all sums on the way."""
    arrays = [call.inputs["array"], *(array for name, array in call.parameters.items() if name.startswith("router."))]
    are_integers = all((array == np.round(array)).all() for array in arrays)
    largest = float(np.prod([np.abs(array).max() for array in arrays[:2]])) * arrays[0].shape[-1]
    return isinstance(call.config, MixtureConfig) and are_integers and largest <= _LARGEST_EXACT


def _differentiable(value: float) -> Traced:
    """Return a number whose gradients are recorded too, which yields the sizes of their rounding errors."""
    return Traced(precise(value))


def _results(groups: Mapping[str, Mapping[str, Array]]) -> dict[str, dict[str, Result]]:
    """Round all arrays; the sizes of their rounding errors are computed together."""
    places = {(kind, name): inexact(array) for kind, arrays in groups.items() for name, array in arrays.items()}
    numbers = [groups[kind][name].values[place] for (kind, name), own in places.items() for place in own]
    sizes = iter(rounding_sizes.roundings(numbers))
    return {
        kind: {
            name: rounded(array, {place: next(sizes) for place in places[kind, name]}) for name, array in own.items()
        }
        for kind, own in groups.items()
    }
