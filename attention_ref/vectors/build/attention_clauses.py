"""What can be read off a case: the clauses that its outcome depends on, and the dtypes that hold it exactly.

A clause is listed when breaking it could change the case's outcome. A recipe adds what its numbers do not show.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping

from attention_ref.spec.arrays import Array, broadcast_index, indices
from attention_ref.spec.clauses import clauses
from attention_ref.spec.dtypes import DTYPES
from attention_ref.spec.masks import visible_keys
from attention_ref.vectors.build.recipe import Recipe

_LARGE_LOG_SUM = 80.0
_LARGE_BIAS = -64.0


def clauses_of(recipe: Recipe, expected: Mapping[str, Array]) -> list[str]:
    """Give the ids of the clauses that decide the case, in the order of `clauses.toml`."""
    found = {f"attention.{name}" for name in _attention_clauses(recipe, expected)}
    if recipe.operation != "attention":
        found |= set(_scored_clauses(recipe))
    found |= set(recipe.clauses)
    if unknown := found - set(clauses()):
        raise ValueError(f"{recipe.id} names clauses that do not exist: {', '.join(sorted(unknown))}")
    return [name for name in clauses() if name in found]


def dtypes_of(recipe: Recipe, expected: Iterable[Array]) -> list[str]:
    """Give the dtypes in which every input is exact and every expected number finite, in the recipe's limits."""
    given = [*recipe.inputs.values(), *recipe.parameters.values()]
    inputs = [array for array in given if array.dtype == "real"]
    return [
        name
        for name, dtype in DTYPES.items()
        if (recipe.dtypes is None or name in recipe.dtypes)
        and all(dtype.holds(value) for array in inputs for value in array.values)
        and all(dtype.reaches(value) for array in expected for value in array.values)
    ]


def _attention_clauses(recipe: Recipe, expected: Mapping[str, Array]) -> Iterator[str]:
    inputs, options = recipe.inputs, recipe.options
    yield from _given(recipe)
    yield from _shape_clauses(inputs)
    hiding = list(_hiding_rules(recipe))
    if len(hiding) > 1:
        yield "visibility"
    if "softcap" in options and (hiding or "bias" in inputs):
        yield "order"
    if "bias" in inputs and any(value < _LARGE_BIAS for value in inputs["bias"].values if math.isfinite(value)):
        yield "finite-bias"
    if -math.inf in (inputs["bias"].values if "bias" in inputs else ()):
        yield "exclusion"
    if recipe.exact_scores:
        yield "precision"

    visible = _visible(recipe)
    rows = [visible[index] for index in indices(visible.shape[:-1])]
    if not all(map(any, rows)):
        yield "empty-row"
    log_sums = [log_sum for log_sum, row in zip(expected["log_sum_exp"].values, rows, strict=True) if any(row)]
    if any(math.isfinite(log_sum) and abs(log_sum) > _LARGE_LOG_SUM for log_sum in log_sums):
        yield "stability"
    if not all(map(math.isfinite, log_sums)) or not all(map(math.isfinite, expected["output"].values)):
        yield "non-finite"
    if any(_poisoned_slots(recipe, visible)):
        yield "hygiene"


def _given(recipe: Recipe) -> Iterator[str]:
    """Clauses named after an argument."""
    inputs, options = recipe.inputs, recipe.options
    for name in ("mask", "bias", "sinks", "key_lengths"):
        if name in inputs:
            yield name.replace("_", "-")
    for name in ("causal", "window", "scale", "softcap", "dropout"):
        if options.get(name) is not None and options[name] is not False:
            yield name
    if "query_offset" in inputs or options.get("query_offset"):
        yield "query-offset"
    if options.get("return_weights"):
        yield "weights"
    if options.get("return_log_sum_exp"):
        yield "log-sum-exp"


def _shape_clauses(inputs: Mapping[str, Array]) -> Iterator[str]:
    query, key, value = (inputs[name].shape for name in ("query", "key", "value"))
    if len(query) != 4 or 0 in query[:-3]:
        yield "batch"
    if query[-3] != key[-3]:
        yield "heads"
    if value[-1] != query[-1]:
        yield "value-size"
    if 0 in (query[-2], key[-2]):
        yield "empty-axis"


def _scored_clauses(recipe: Recipe) -> Iterator[str]:
    """Clauses of the operations that score keys in another way."""
    operation = recipe.operation.removesuffix("_attention")
    shared = {"mask", "bias", "key_lengths", "causal", "window"}
    if shared & {*recipe.inputs, *recipe.options}:
        yield f"{operation}.visibility"
    if {"query_kernel", "key_kernel"} & set(recipe.inputs):
        yield "additive.kernels"
    if operation == "multiplicative" and "score_kernel" in recipe.inputs:
        yield "multiplicative.kernel"


def _hiding_rules(recipe: Recipe) -> Iterator[str]:
    yield from (name for name in ("mask", "key_lengths") if name in recipe.inputs)
    yield from (name for name in ("causal", "window") if recipe.options.get(name))
    if "bias" in recipe.inputs and -math.inf in recipe.inputs["bias"].values:
        yield "bias"


def _visible(recipe: Recipe) -> Array:
    query, key = recipe.inputs["query"].shape, recipe.inputs["key"].shape
    names = ("mask", "bias", "query_offset", "key_lengths", "causal", "window")
    rules = {name: value for name, value in {**recipe.inputs, **recipe.options}.items() if name in names}
    return visible_keys((*query[:-1], key[-2]), **rules)


def _poisoned_slots(recipe: Recipe, visible: Array) -> Iterator[bool]:
    """Say of every query and key whether the key holds NaN or infinity and only a rule beside the lengths hides it."""
    key, value, lengths = recipe.inputs["key"], recipe.inputs["value"], recipe.inputs.get("key_lengths")
    repeats = visible.shape[-3] // key.shape[-3]
    for index in indices(visible.shape):
        *batch, head, _, j = index
        slot = (*batch, head // repeats, j)
        is_padding = lengths is not None and j >= lengths[broadcast_index(tuple(batch), lengths.shape)]
        is_poisoned = not all(map(math.isfinite, (*key[slot], *value[slot])))
        yield is_poisoned and not is_padding and not visible[index]
