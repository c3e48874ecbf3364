"""Attention behind a cache with what the chunks of the vectors do not have: masks, biases, positions, other keys.

The truth is that of one call, from the vectors.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest

from attention_ref import spec, vectors, weights
from attention_ref.conformance import Case, cases
from attention_ref.conformance import room as subject_of
from attention_ref.conformance.budget import budget, compare
from attention_ref.conformance.frameworks.interface import Framework

OPERATION = "MultiHeadAttention"
EVERY = [case for profile in vectors.profiles(OPERATION) for case in cases(OPERATION, profile)]
CAUSAL = [
    case
    for case in EVERY
    if case.call.config.causal and not (case.call.chunks or case.call.options or "key" in case.call.inputs)
]
KINDS = {"b": "bool", "i": "int64", "f": "float64"}


class Attending:
    """A case's layer in a backend, called with NumPy arrays."""

    def __init__(self, case: Case, room: ModuleType, arrays: Framework) -> None:
        self.arrays = arrays
        build = subject_of(room, room.__name__.rpartition(".")[-1], "").operations[OPERATION]
        self.layer = build(case.call.config, {name: self.make(array) for name, array in case.call.parameters.items()})

    def make(self, array: np.ndarray) -> Any:
        return self.arrays.make(array, KINDS[array.dtype.kind])

    def __call__(self, *inputs: np.ndarray, cache: Any = None, **options: np.ndarray) -> tuple[np.ndarray, Any]:
        options = {name: self.make(array) for name, array in options.items()}
        output, cache = self.layer(*map(self.make, inputs), cache=cache, return_cache=True, **options)
        return self.arrays.read(output), cache


def within_budget(got: np.ndarray, case: Case) -> bool:
    expected = case.expected["output"]
    return compare(got, expected.values, budget(expected.roundings, "float64")).error_ratio.max(initial=0) <= 1


def part(array: np.ndarray, places: slice, past: int) -> np.ndarray:
    """Cut what broadcasts to `(b,h,q,k)` for the queries at `places`: the keys are those up to the last of them."""
    if array.shape[-2] > 1:
        array = array[..., places, :]
    return array[..., :past] if array.shape[-1] > 1 else array


@pytest.mark.parametrize("case", CAUSAL, ids=lambda case: case.id)
def test_a_chunk_at_a_time_is_one_call(case: Case, room: ModuleType, room_arrays: Framework) -> None:
    attend, inputs = Attending(case, room, room_arrays), dict(case.call.inputs)
    query = inputs.pop("query")
    length = query.shape[1]
    lengths = inputs.pop("key_lengths", np.full(len(query), length))
    outputs, cache = [], None
    for start, stop in ((0, 1), (1, length)):
        places = slice(start, stop)
        options = {name: part(inputs[name], places, stop) for name in ("mask", "bias") if name in inputs}
        if "positions" in inputs:
            options["positions"] = inputs["positions"][..., places]
        options["key_lengths"] = np.clip(lengths - start, 0, stop - start)
        output, cache = attend(query[:, places], cache=cache, **options)
        outputs.append(output)
    assert within_budget(np.concatenate(outputs, axis=1), case)


def test_a_chunk_without_a_token_changes_nothing(room: ModuleType, room_arrays: Framework) -> None:
    """A trained key is then the only one, and biases have no column but its own."""
    config = spec.AttentionConfig(model=4, heads=2, causal=True, alibi=True, trained_key_value=True)
    generator = np.random.default_rng(0)
    tree = {name: generator.normal(size=array.shape) for name, array in weights.init(config).items()}
    build = subject_of(room, room.__name__.rpartition(".")[-1], "").operations[OPERATION]
    layer = build(config, {name: room_arrays.make(array, "float64") for name, array in tree.items()})
    query = generator.normal(size=(2, 3, 4))
    before, cache = layer(room_arrays.make(query[:, :0], "float64"), return_cache=True)
    assert room_arrays.read(before).shape == (2, 0, 4)
    whole = room_arrays.make(query, "float64")
    np.testing.assert_array_equal(room_arrays.read(layer(whole, cache=cache)), room_arrays.read(layer(whole)))


def test_the_cases_have_what_the_vectors_do_not_give_behind_a_cache() -> None:
    assert {"mask", "bias", "positions", "key_lengths"} <= {name for case in CAUSAL for name in case.call.inputs}


@pytest.mark.parametrize("name", ["positions/cross-query-offset", "pairs/places-across"])
def test_other_keys_stand_behind_a_cache(name: str, room: ModuleType, room_arrays: Framework) -> None:
    """Keys of another sequence in two calls, row by row, are those of one; queries stand behind the first of them."""
    (case,) = [case for case in EVERY if case.id == f"{OPERATION}/{name}"]
    attend, key, first = Attending(case, room, room_arrays), case.call.inputs["key"], case.call.inputs["query_offset"]
    batch, length, _ = key.shape
    places = np.minimum(first[:, None] + np.arange(length), length - 1)  # (b,k)
    later = key[np.arange(batch)[:, None], places]
    options = {"mask": case.call.inputs["mask"]} if "mask" in case.call.inputs else {}
    _, cache = attend(case.call.inputs["query"], key[:, : max(first)], key_lengths=first)
    if options:  # no query sees the places of the buffer that are not filled
        options["mask"] = np.pad(options["mask"], [(0, 0), (0, max(first))])
    output, _ = attend(case.call.inputs["query"], later, key_lengths=length - first, cache=cache, **options)
    assert within_budget(output, case)
