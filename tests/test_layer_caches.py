"""Attention behind a cache with what the chunks of the vectors do not have: masks, biases, positions, other keys, and
caches of a given length.

The truth is that of one call, from the vectors.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
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


def widened(array: np.ndarray, length: int) -> np.ndarray:
    """Add columns for the positions of a static cache that are not filled."""
    missing = length - array.shape[-1] if array.shape[-1] > 1 else 0
    return np.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, missing)], constant_values=1)


@pytest.mark.parametrize("room_for", [None, 2], ids=["growing", "static"])
@pytest.mark.parametrize("case", CAUSAL, ids=lambda case: case.id)
def test_a_chunk_at_a_time_is_one_call(
    case: Case, room: ModuleType, room_arrays: Framework, room_for: int | None
) -> None:
    """A static cache has room for more positions than come; masks and biases have columns for them."""
    attend, inputs = Attending(case, room, room_arrays), dict(case.call.inputs)
    query = inputs.pop("query")
    length = query.shape[1]
    lengths = inputs.pop("key_lengths", np.full(len(query), length))
    outputs, cache = [], None
    for start, stop in ((0, 1), (1, length)):
        places = slice(start, stop)
        options = {name: part(inputs[name], places, stop) for name in ("mask", "bias") if name in inputs}
        if cache is not None and room_for is not None:
            cache = room.static_cache(cache, length + room_for)
            options = {name: widened(array, length + room_for) for name, array in options.items()}
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


@pytest.mark.parametrize("name", ["prefill-and-steps", "rows-apart", "empty-chunks"])
def test_latent_attention_fills_a_static_cache(name: str, room: ModuleType, room_arrays: Framework) -> None:
    """The chunks of the vectors, row by row, with a cache that has room for exactly what comes."""
    (case,) = [case for case in cases("LatentAttention", "cache") if case.id.endswith(f"/{name}")]
    build = subject_of(room, room.__name__.rpartition(".")[-1], "").operations["LatentAttention"]
    layer = build(case.call.config, {n: room_arrays.make(x, "float64") for n, x in case.call.parameters.items()})
    array, cache = case.call.inputs["array"], None
    outputs, past = np.zeros_like(array), np.zeros(len(array), int)
    for chunk in case.call.chunks:
        counts = np.broadcast_to(chunk, len(array))
        tokens = np.zeros((len(array), max(counts), array.shape[2]))
        for row, (start, count) in enumerate(zip(past, counts, strict=True)):
            tokens[row, :count] = array[row, start : start + count]
        if cache is not None:
            cache = room.static_cache(cache, max(array.shape[1], cache.key.shape[2]))
        lengths = room_arrays.make(counts, "int64")
        output, cache = layer(room_arrays.make(tokens, "float64"), key_lengths=lengths, cache=cache, return_cache=True)
        for row, (start, count) in enumerate(zip(past, counts, strict=True)):
            outputs[row, start : start + count] = room_arrays.read(output)[row, :count]
        past = past + counts
    assert within_budget(outputs, case)


def rotary_case() -> Case:
    (case,) = [case for case in CAUSAL if case.id == f"{OPERATION}/positions/rotary"]
    return case


def test_a_step_writes_into_a_static_cache(room: ModuleType, room_arrays: Framework) -> None:
    """What an earlier cache holds is what it held; in Keras arrays cannot be written."""
    attend, query = Attending(rotary_case(), room, room_arrays), rotary_case().call.inputs["query"]
    _, cache = attend(query[:, :2], key_lengths=np.array([2, 1]))
    before = room.static_cache(cache, 4)
    filled = room_arrays.read(before.key)[:, :, :1].copy()
    _, after = attend(query[:, 2:3], cache=before)
    assert type(after) is room.StaticCache
    np.testing.assert_array_equal(room_arrays.read(after.lengths), [3, 2])
    np.testing.assert_array_equal(room_arrays.read(after.key)[:, :, :1], filled)
    assert (room_arrays.read(after.key)[1, :, 2:] == 0).all()
    if not room.__name__.endswith("keras"):
        assert after.key is before.key
        assert after.value is before.value


@pytest.mark.parametrize("lengths", [[3, 3], [2, 3]], ids=["all rows", "one row"])
def test_a_full_static_cache_takes_no_more(lengths: list[int], room: ModuleType, room_arrays: Framework) -> None:
    attend, query = Attending(rotary_case(), room, room_arrays), rotary_case().call.inputs["query"]
    _, cache = attend(query[:, :3], key_lengths=np.array(lengths))
    cache = room.static_cache(cache, 3)
    before = room_arrays.read(cache.key).copy()
    with pytest.raises(spec.SpecificationError, match=r"MultiHeadAttention: a static cache of 3 positions .*\n.*4"):
        attend(query[:, 3:], cache=cache)
    with pytest.raises(spec.SpecificationError, match=r"append_to_cache: a static cache of 3 positions .*\n.*6"):
        room.append_to_cache(cache, cache)
    np.testing.assert_array_equal(room_arrays.read(cache.key), before)


@pytest.mark.parametrize("length", [1, 2.5, True, None], ids=repr)
def test_a_static_cache_has_room_for_what_it_is_made_of(length: Any, room: ModuleType, room_arrays: Framework) -> None:
    attend, query = Attending(rotary_case(), room, room_arrays), rotary_case().call.inputs["query"]
    _, cache = attend(query[:, :2])
    with pytest.raises(spec.SpecificationError, match=r"static_cache: length must be .*, here 2\."):
        room.static_cache(cache, length)
    with pytest.raises(spec.SpecificationError, match="static_cache: cache must be the Cache"):
        room.static_cache(query, 4)


def counted(step: Callable[..., Any], room: ModuleType) -> tuple[Callable[..., Any], list[int]]:
    """Compile a step for the room's framework; return it and a list with one entry for each compilation."""
    name, compilations = room.__name__.rpartition(".")[-1], []
    framework = importlib.import_module("keras").config.backend() if name == "keras" else name
    if framework == "numpy":
        pytest.skip("NumPy compiles nothing")
    if name == "keras" and framework == "torch":
        pytest.skip("torch.compile cannot follow how Keras flattens the arguments of a layer")
    module = importlib.import_module(framework)

    def count(graph: Any, _: Any) -> Any:
        compilations.append(1)
        return graph.forward

    def traced(*arrays: Any) -> Any:
        compilations.append(1)
        return step(*arrays)

    if framework == "torch":
        module.compiler.reset()
        return module.no_grad()(module.compile(step, fullgraph=True, backend=count)), compilations
    return (module.function if framework == "tensorflow" else module.jit)(traced), compilations


def test_one_compiled_step_serves_every_position(room: ModuleType, room_arrays: Framework) -> None:
    """Shapes are those of the cache, whatever is filled of it, and rows may differ."""
    case = rotary_case()
    attend, query = Attending(case, room, room_arrays), case.call.inputs["query"]
    _, cache = attend(query[:, :2], key_lengths=np.array([2, 1]))
    cache = room.static_cache(cache, 5)
    *arrays, lengths = (array.detach() if hasattr(array, "detach") else array for array in cache)

    def step(token: Any, key: Any, value: Any, lengths: Any) -> Any:
        return attend.layer(token, cache=room.StaticCache(key, value, lengths), return_cache=True)

    compiled, compilations = counted(step, room)
    outputs, rows = case.expected["output"].values.copy(), np.arange(2)
    outputs[rows, [2, 1]], outputs[rows, [3, 2]] = np.nan, np.nan  # what the steps compute
    for _ in range(2):
        places = room_arrays.read(lengths)
        token = attend.make(query[rows, places][:, None])
        output, (*arrays, lengths) = compiled(token, *arrays, lengths)
        outputs[rows, places] = room_arrays.read(output)[:, 0]
    assert within_budget(outputs, case)
    assert len(compilations) == 1
