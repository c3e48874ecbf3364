"""The truth of what is configured: positional codes, linear maps, normalisations, activations and layers.

The specification runs once on `Traced(mpf)`. A layer's taps are told on the way: every intermediate has its own
expected values and rounding sizes. A layer that decodes in chunks is expected to give what one call gives.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from attention_ref.spec import Array, Traced, positions, primitives
from attention_ref.spec.block import Block
from attention_ref.spec.feedforward import FeedForward
from attention_ref.spec.model import Transformer
from attention_ref.spec.multihead import MultiHeadAttention
from attention_ref.vectors.build import rounding_sizes
from attention_ref.vectors.build.attention_truth import Result, inexact, precise, rounded
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
    if not recipe.chunks:
        arrays |= {("tap", name): array for name, array in taps.items()}
    found = _results(arrays)
    returned_names = [name for kind, name in found if not kind]
    return Solution(
        {name: found["", name] for name in returned_names},
        {name: result for (kind, name), result in found.items() if kind},
    )


def _inputs(recipe: Recipe) -> dict[str, Array]:
    return {name: array.map(precise) if array.dtype == "real" else array for name, array in recipe.inputs.items()}


def _layer(recipe: Recipe, taps: dict[str, Array]) -> Any:
    parameters = {name: array.map(precise) for name, array in recipe.parameters.items()}
    layer: Any = LAYERS[recipe.operation](recipe.config, parameters)
    return layer(**_inputs(recipe), **recipe.options, tap=taps.__setitem__)


def _function(recipe: Recipe) -> Any:
    given: dict[str, Any] = {**_inputs(recipe), **recipe.options}
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
