"""The truth of what is configured: positional codes, linear maps, normalisations, activations and layers.

The specification runs once on `Traced(mpf)`. A layer's taps are told on the way: every intermediate has its own
expected values and rounding sizes. A layer that decodes in chunks is expected to give what one call gives.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from attention_ref.spec import Array, Traced, positions, primitives
from attention_ref.spec.block import Block
from attention_ref.spec.feedforward import FeedForward
from attention_ref.spec.model import Transformer
from attention_ref.spec.multihead import MultiHeadAttention
from attention_ref.spec.numbers import stored
from attention_ref.spec.trace import gradients
from attention_ref.vectors.build import rounding_sizes
from attention_ref.vectors.build.attention_truth import Gradient, Result, inexact, precise, rounded
from attention_ref.vectors.build.hashed_inputs import real_values
from attention_ref.vectors.build.recipe import Recipe

LAYERS = {
    "MultiHeadAttention": MultiHeadAttention,
    "FeedForward": FeedForward,
    "Block": Block,
    "Transformer": Transformer,
}
_FUNCTIONS = {
    name: getattr(positions, name) for name in ("sinusoidal_positions", "rotate", "alibi_bias", "relative_bias")
}
_FUNCTIONS |= {name: getattr(primitives, name) for name in ("linear", "layer_norm", "rms_norm", "activate")}


class Solution(NamedTuple):
    """What a call returns, and what its taps are told, each by name and in order."""

    returned: dict[str, Result]
    taps: dict[str, Result]


def solve(recipe: Recipe) -> Solution:
    """Give the truth of a case."""
    taps: dict[str, Array] = {}
    returned = _layer(recipe, taps) if recipe.operation in LAYERS else _function(recipe)
    results = returned if isinstance(returned, tuple) else (returned,)
    names = ("output", "weights")[: len(results)]
    arrays = {("", name): _as_tensor(array) for name, array in zip(names, results, strict=True)}
    if recipe.taps and not recipe.chunks:
        arrays |= {("tap", name): array for name, array in taps.items()}
    found = _results(arrays)
    returned_names = [name for kind, name in found if not kind]
    return Solution(
        {name: found["", name] for name in returned_names},
        {name: result for (kind, name), result in found.items() if kind},
    )


def backward(recipe: Recipe, output: Array) -> Gradient:
    """Return the gradient of `sum(cotangent * output)` of a layer by every real input and every parameter."""
    cotangent = Array(output.shape, real_values(recipe.id, "cotangent", len(output.values)), "real")
    inputs, parameters = _traced(recipe.inputs, _differentiable), _traced(recipe.parameters, _differentiable)
    traced = _called(recipe, inputs, parameters)
    leaves = {name: array for name, array in {**inputs, **parameters}.items() if array.dtype == "real"}
    numbers = [number for array in leaves.values() for number in array.values]
    found = iter(gradients(traced.values, [precise(amount) for amount in cotangent.values], numbers))
    expected = {
        name: Array(array.shape, [stored(next(found)) for _ in array.values], "real") for name, array in leaves.items()
    }
    return Gradient(cotangent, _results(expected))


def _differentiable(value: float) -> Traced:
    """Return a number whose gradients are recorded too, so that the size of their rounding errors is known."""
    return Traced(precise(value))


def _traced(arrays: Mapping[str, Array], make: Callable[[float], Traced]) -> dict[str, Array]:
    return {name: array.map(make) if array.dtype == "real" else array for name, array in arrays.items()}


def _layer(recipe: Recipe, taps: dict[str, Array]) -> Any:
    return _called(recipe, _traced(recipe.inputs, precise), _traced(recipe.parameters, precise), taps)


def _called(
    recipe: Recipe, inputs: Mapping[str, Array], parameters: Mapping[str, Array], taps: dict[str, Array] | None = None
) -> Any:
    layer: Any = LAYERS[recipe.operation](recipe.config, parameters)
    return layer(**inputs, **recipe.options, tap=None if taps is None else taps.__setitem__)


def _function(recipe: Recipe) -> Any:
    given: dict[str, Any] = {**_traced(recipe.inputs, precise), **recipe.options}
    if recipe.config is not None:
        given["config"] = recipe.config
    if recipe.operation in ("sinusoidal_positions", "alibi_bias"):
        given["like"] = precise(0.0)
    return _FUNCTIONS[recipe.operation](**given)


def _as_tensor(array: Array) -> Array:
    """Store what is returned in the tensors' dtype, where the specification has not."""

    def kept(value: Any) -> Any:
        is_computed = isinstance(value, Traced) and bool(value.parents) and value.precision != "storage"
        return value.stored() if is_computed else value

    return array.map(kept)


def _results(arrays: Mapping[Any, Array]) -> dict[Any, Result]:
    """Round all arrays, with the sizes of all their errors found together."""
    places = {name: inexact(array) for name, array in arrays.items()}
    numbers = [array.values[place] for name, array in arrays.items() for place in places[name]]
    found = iter(rounding_sizes.roundings(numbers))
    return {name: rounded(array, {place: next(found) for place in places[name]}) for name, array in arrays.items()}
