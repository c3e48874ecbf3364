"""Derive from a case the clauses that its outcome depends on, and the dtypes in which it is exact.

A clause is listed if violating it could change the outcome. A recipe adds clauses that cannot be derived.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from attention_ref.spec.clauses import clauses
from attention_ref.spec.dtypes import DTYPES
from attention_ref.vectors.build.recipe import Recipe
from attention_ref.vectors.call import Call

_LARGE_LOG_SUM = 80.0
_LARGE_BIAS = -64.0


def clauses_of(recipe: Recipe, expected: Mapping[str, np.ndarray]) -> list[str]:
    """Return the ids of the clauses that decide the outcome, in the order of `clauses.toml`."""
    found = {f"attention.{name}" for name in _attention_clauses(recipe, expected)}
    found |= {*_given_clauses(recipe.call), *recipe.clauses}
    if unknown := found - set(clauses()):
        raise ValueError(f"{recipe.id} names clauses that do not exist: {', '.join(sorted(unknown))}")
    return [name for name in clauses() if name in found]


def dtypes_of(recipe: Recipe, expected: Iterable[np.ndarray]) -> list[str]:
    """Return the dtypes, limited by the recipe, in which every input is exact and every expected value finite."""
    numbers = [number for array in expected for number in array.ravel().tolist()]
    return [
        name
        for name, dtype in DTYPES.items()
        if (recipe.dtypes is None or name in recipe.dtypes)
        and recipe.call.is_exact_in(name)
        and all(map(dtype.reaches, numbers))
    ]


def _attention_clauses(recipe: Recipe, expected: Mapping[str, np.ndarray]) -> Iterator[str]:
    call = recipe.call
    yield from _shape_clauses(call.inputs)
    hiding = list(_hiding_rules(call))
    if len(hiding) > 1:
        yield "visibility"
    bias = call.inputs.get("bias", np.zeros(0))
    if "softcap" in call.options and (hiding or "bias" in call.inputs):
        yield "order"
    if np.any(bias[np.isfinite(bias)] < _LARGE_BIAS):
        yield "finite-bias"
    if np.any(bias == -np.inf):
        yield "exclusion"
    if recipe.exact_scores:
        yield "precision"

    visible = call.visible()  # (b,h,q,k)
    has_keys = visible.any(axis=-1)
    if not has_keys.all():
        yield "empty-row"
    log_sums = expected["log_sum_exp"][has_keys]
    if np.any(np.abs(log_sums[np.isfinite(log_sums)]) > _LARGE_LOG_SUM):
        yield "stability"
    if not np.isfinite(log_sums).all() or not np.isfinite(expected["output"]).all():
        yield "non-finite"
    if _has_poisoned_slots(call, visible):
        yield "hygiene"


def _given_clauses(call: Call) -> Iterator[str]:
    """Return the clauses of the given arguments, and those of visibility if any rule can hide keys."""
    given = {name for name, value in call.given.items() if call.table.says(name, value)}
    yield from filter(None, (call.table[name].clause for name in given))
    if call.table.group != "attention" and given & set(call.table.hiding):
        yield f"{call.table.group}.visibility"


def _shape_clauses(inputs: Mapping[str, np.ndarray]) -> Iterator[str]:
    query, key, value = (inputs[name].shape for name in ("query", "key", "value"))
    if len(query) != 4 or 0 in query[:-3]:
        yield "batch"
    if query[-3] != key[-3]:
        yield "heads"
    if value[-1] != query[-1]:
        yield "value-size"
    if 0 in (query[-2], key[-2]):
        yield "empty-axis"


def _hiding_rules(call: Call) -> Iterator[str]:
    """Return the arguments that hide keys; a bias does so only where it is -inf."""
    given = call.given
    for name in call.table.hiding:
        if name in given and call.table.says(name, given[name]):
            yield from [name] if call.table[name].kind != "real" or np.any(given[name] == -np.inf) else []


def _has_poisoned_slots(call: Call, visible: np.ndarray) -> bool:
    """Return whether a NaN or infinite key or value is hidden by a rule other than `key_lengths`."""
    repeats = visible.shape[-3] // call.inputs["key"].shape[-3]
    is_finite = [np.isfinite(call.inputs[name]).all(axis=-1) for name in ("key", "value")]  # (b,g,k)
    is_poisoned = np.repeat(~(is_finite[0] & is_finite[1]), repeats, axis=-2)[..., None, :]  # (b,h,1,k)
    if "key_lengths" in call.inputs:
        is_real = np.arange(visible.shape[-1]) < call.inputs["key_lengths"][..., None]  # (b,k)
        is_poisoned = is_poisoned & is_real[..., None, None, :]
    return bool(np.any(is_poisoned & ~visible))
