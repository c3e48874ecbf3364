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
from attention_ref.spec.operations import OPERATIONS
from attention_ref.vectors.build.recipe import Recipe

_LARGE_LOG_SUM = 80.0
_LARGE_BIAS = -64.0


def clauses_of(recipe: Recipe, expected: Mapping[str, Array]) -> list[str]:
    """Give the ids of the clauses that decide the case, in the order of `clauses.toml`."""
    found = {f"attention.{name}" for name in _attention_clauses(recipe, expected)}
    found |= {*_given_clauses(recipe), *recipe.clauses}
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


def _given_clauses(recipe: Recipe) -> Iterator[str]:
    """Return the clauses of the arguments that a call is given, and of visibility where something can hide keys."""
    table = OPERATIONS[recipe.operation]
    given = {name for name, value in {**recipe.inputs, **recipe.options}.items() if table.says(name, value)}
    yield from filter(None, (table[name].clause for name in given))
    if table.group != "attention" and given & set(table.hiding):
        yield f"{table.group}.visibility"


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


def _hiding_rules(recipe: Recipe) -> Iterator[str]:
    """Return the arguments that hide keys; numbers do so only where they are -inf."""
    table, given = OPERATIONS[recipe.operation], {**recipe.inputs, **recipe.options}
    for name in table.hiding:
        if name in given and table.says(name, given[name]):
            yield from [name] if table[name].kind != "real" or -math.inf in given[name].values else []


def _visible(recipe: Recipe) -> Array:
    query, key = recipe.inputs["query"].shape, recipe.inputs["key"].shape
    names = OPERATIONS[recipe.operation].visibility
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
