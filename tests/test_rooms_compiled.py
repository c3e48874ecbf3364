"""Compiled calls return what the specification says: torch.compile, tf.function and jax.jit.

NumPy compiles nothing and runs as it is.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from attention_ref import spec
from attention_ref.conformance.frameworks.interface import Framework
from attention_ref.vectors.array_forms import from_spec, to_spec

B, H, G, Q, K, D, V, A = 2, 4, 2, 3, 5, 4, 3, 6
ROUNDINGS = 16
"""The results, numbers around 1, may be off by so many units of 1; the worst seen in any framework was 5."""

RANDOM = np.random.default_rng(2026)


def numbers(*shape: int) -> np.ndarray:
    """Multiples of 1/64 from -2 to 2, which every dtype holds exactly."""
    return RANDOM.integers(-128, 129, size=shape) / 64


def truths(*shape: int) -> np.ndarray:
    return RANDOM.random(shape) < 0.6


QUERY, KEY, VALUE = numbers(B, H, Q, D), numbers(B, G, K, D), numbers(B, G, K, V)
OFFSETS, LENGTHS = np.array([2, -1]), np.array([4, 0])
MASK, DROPOUT_MASK = truths(B, 1, Q, K), truths(Q, K)
BIAS, SINKS = numbers(H, Q, K), numbers(H)
HIDING_BIAS = np.where(truths(H, 1, K), BIAS[:, :1], -np.inf)
IS_PADDING = np.arange(K) >= LENGTHS[:, None, None]  # (b,1,k)
NAN_IN_PADDING = {name: np.where(IS_PADDING[..., None], np.nan, x) for name, x in {"key": KEY, "value": VALUE}.items()}
NAN_BEHIND_MASK = {"mask": np.arange(K) != 1, "value": np.where(np.arange(K)[:, None] == 1, np.nan, VALUE)}
INFINITE_VALUE = np.where(np.arange(K)[:, None] == 2, [np.inf, -np.inf, np.nan], VALUE)
ALL_RESULTS = {"return_weights": True, "return_log_sum_exp": True}
DROPOUT = {"dropout": 0.25, "dropout_mask": DROPOUT_MASK}
EVERYTHING = (
    {"mask": MASK, "bias": HIDING_BIAS, "causal": True, "query_offset": OFFSETS, "window": (3, None)}
    | {"key_lengths": LENGTHS, "scale": -0.75, "softcap": 2.5, "sinks": SINKS}
    | DROPOUT
    | ALL_RESULTS
    | NAN_IN_PADDING
)
KERNELS = {"query_kernel": numbers(D, A), "key_kernel": numbers(D, A), "score_kernel": numbers(A)}

ATTENTION: dict[str, dict[str, Any]] = {
    "plain": {},
    "all results": ALL_RESULTS,
    "causal": {"causal": True},
    "causal after a cache": {"causal": True, "query_offset": 2},
    "causal with an offset of each row": {"causal": True, "query_offset": OFFSETS, **ALL_RESULTS},
    "window": {"window": (1, 1)},
    "window without a left end": {"window": (None, 0), "query_offset": 2},
    "causal window": {"window": (1, None), "causal": True, "query_offset": OFFSETS},
    "mask": {"mask": MASK, **ALL_RESULTS},
    "mask of everything": {"mask": np.zeros((Q, K), bool), **ALL_RESULTS},
    "lengths": {"key_lengths": LENGTHS, **ALL_RESULTS},
    "one length": {"key_lengths": 3},
    "NaN in padding": {"key_lengths": LENGTHS, **NAN_IN_PADDING, **ALL_RESULTS},
    "NaN behind a mask": NAN_BEHIND_MASK,
    "infinities in sight": {"value": INFINITE_VALUE, "causal": True},
    "bias": {"bias": BIAS},
    "bias that hides": {"bias": HIDING_BIAS, "mask": MASK, **ALL_RESULTS},
    "scale": {"scale": 2},
    "softcap": {"softcap": 1.5, **ALL_RESULTS},
    "softcap, bias and mask": {"softcap": 1.5, "bias": HIDING_BIAS, "mask": MASK},
    "sinks": {"sinks": SINKS, **ALL_RESULTS},
    "sinks of empty rows": {"sinks": SINKS * 500, "causal": True, "query_offset": -2, **ALL_RESULTS},
    "dropout": {**DROPOUT, **ALL_RESULTS},
    "dropout and lengths": {**DROPOUT, "key_lengths": LENGTHS},
    "no keys": {"key": KEY[:, :, :0], "value": VALUE[:, :, :0], **ALL_RESULTS},
    "no keys but sinks": {"key": KEY[:, :, :0], "value": VALUE[:, :, :0], "sinks": SINKS, **ALL_RESULTS},
    "no queries": {"query": QUERY[:, :, :0], "causal": True, **ALL_RESULTS},
    "no batch axis": {"query": QUERY[0], "key": KEY[0], "value": VALUE[0], "causal": True, "query_offset": 1},
    "everything": EVERYTHING,
}
CASES = {name: ("attention", case) for name, case in ATTENTION.items()} | {
    "additive": ("additive_attention", {"score_kernel": numbers(D), "mask": MASK}),
    "additive with kernels": ("additive_attention", {**KERNELS, "causal": True, "query_offset": 1, **ALL_RESULTS}),
    "multiplicative": ("multiplicative_attention", {"key_lengths": LENGTHS, **NAN_IN_PADDING}),
    "multiplicative with a kernel": ("multiplicative_attention", {"score_kernel": numbers(D, D), **ALL_RESULTS}),
}


def split(case: Mapping[str, Any]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return the arrays of a call and its other options."""
    case = {"query": QUERY, "key": KEY, "value": VALUE} | dict(case)
    arrays = {name: x for name, x in case.items() if isinstance(x, np.ndarray)}
    return arrays, {name: x for name, x in case.items() if name not in arrays}


def truth(operation: str, case: Mapping[str, Any]) -> list[np.ndarray]:
    arrays, options = split(case)
    given = {name: to_spec(array) for name, array in arrays.items()}
    results = getattr(spec, operation)(**given, **options)
    results = results if isinstance(results, tuple) else (results,)
    return [from_spec(result) for result in results]


def engine(room: ModuleType) -> str:
    """Return the name of the framework that computes."""
    name = room.__name__.rpartition(".")[-1]
    return importlib.import_module("keras").config.backend() if name == "keras" else name


def compiled(function: Callable[..., Any], framework: str) -> Callable[..., Any]:
    if framework == "numpy":
        return function
    module = importlib.import_module(framework)
    if framework == "torch":
        module.compiler.reset()  # or the cases count as recompilations of one function, which are limited
        return module.compile(function, fullgraph=True, backend="eager")
    return module.function(function) if framework == "tensorflow" else module.jit(function)


def check(results: Any, expected: list[np.ndarray], arrays: Framework, dtype: str) -> None:
    results = results if isinstance(results, (tuple, list)) else (results,)
    assert len(results) == len(expected)
    units = {"float64": 2.0**-53, "float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}
    for position, (result, numbers_expected) in enumerate(zip(results, expected, strict=True)):
        is_log_sum_exp = position == 2
        stored = "float32" if is_log_sum_exp and dtype in ("float16", "bfloat16") else dtype
        assert arrays.dtype(result) == stored
        is_exact = (numbers_expected == 0) & (position == 1)  # the weight of a hidden key
        allowed = ROUNDINGS * units[dtype if dtype in ("float64", "float32") else "float32"] + units[stored]
        np.testing.assert_allclose(arrays.read(result), numbers_expected, rtol=allowed, atol=allowed)
        assert (arrays.read(result)[is_exact] == 0).all()


@pytest.mark.parametrize("name", CASES)
def test_a_compiled_call_follows_the_spec(room: ModuleType, room_arrays: Framework, name: str) -> None:
    operation, case = CASES[name]
    given, options = split(case)
    arrays = {key: room_arrays.make(x, "float64" if x.dtype.kind == "f" else x.dtype.name) for key, x in given.items()}

    def call(arrays: dict[str, Any]) -> Any:
        return getattr(room, operation)(**arrays, **options)

    expected = truth(operation, case)
    check(call(arrays), expected, room_arrays, "float64")
    check(compiled(call, engine(room))(arrays), expected, room_arrays, "float64")


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_a_compiled_call_keeps_the_dtype(room: ModuleType, room_arrays: Framework, dtype: str) -> None:
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes")
    given, options = split(EVERYTHING)
    arrays = {key: room_arrays.make(x, dtype if x.dtype.kind == "f" else x.dtype.name) for key, x in given.items()}

    def call(arrays: dict[str, Any]) -> Any:
        return room.attention(**arrays, **options)

    check(compiled(call, engine(room))(arrays), truth("attention", EVERYTHING), room_arrays, dtype)


def unknown_sizes(room: ModuleType, function: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    """Compile a function of query, key and value for every batch and every length at once."""
    framework = engine(room)
    if framework == "numpy":
        pytest.skip("NumPy compiles nothing")
    module = importlib.import_module(framework)
    if framework == "tensorflow":
        shapes = [(None, H, None, D), (None, G, None, D), (None, G, None, V)]
        signature = [module.TensorSpec(shape, "float64") for shape in shapes]
        yield module.function(function, input_signature=signature)
        yield module.function(function, input_signature=signature, jit_compile=True)
    elif framework == "torch":
        module.compiler.reset()
        yield module.compile(function, fullgraph=True, dynamic=True, backend="eager")
    else:
        yield module.jit(function)


def test_one_compiled_function_takes_every_size(room: ModuleType, room_arrays: Framework) -> None:
    options = {"causal": True, "query_offset": 1, "window": (3, 3), "key_lengths": 2}

    def call(query: Any, key: Any, value: Any) -> Any:
        return room.attention(query, key, value, **options)

    sizes = [(slice(None), slice(None)), (slice(0, 1), slice(0, 2)), (slice(0, 2), slice(0, 4))]
    for function in unknown_sizes(room, call):
        for rows, keys in sizes:
            case = {"query": QUERY[rows], "key": KEY[rows, :, keys], "value": VALUE[rows, :, keys]} | options
            arrays = [room_arrays.make(case[name], "float64") for name in ("query", "key", "value")]
            check(function(*arrays), truth("attention", case), room_arrays, "float64")


def test_keras_takes_symbolic_tensors(room: ModuleType, room_arrays: Framework) -> None:
    if not room.__name__.endswith("keras"):
        pytest.skip("only Keras has symbolic tensors")
    keras = importlib.import_module("keras")
    shapes = {"query": (H, None, D), "key": (G, None, D), "value": (G, None, V)}
    inputs = {name: keras.Input(shape, name=name, dtype="float64") for name, shape in shapes.items()}
    inputs["key_lengths"] = keras.Input((), name="key_lengths", dtype="int32")
    outputs = room.attention(**inputs, causal=True, query_offset=2, **ALL_RESULTS)
    assert [tuple(output.shape) for output in outputs] == [(None, H, None, V), (None, H, None, None), (None, H, None)]
    twice = room.attention(inputs["query"], inputs["key"], inputs["value"], key_lengths=inputs["key_lengths"])
    model = keras.Model(inputs, [*outputs, twice])
    case = {"key_lengths": LENGTHS, "causal": True, "query_offset": 2, **ALL_RESULTS, **NAN_IN_PADDING}
    given, _ = split(case)
    arrays = {name: room_arrays.make(x, inputs[name].dtype) for name, x in given.items()}
    *results, second = model(arrays)
    check(results, truth("attention", case), room_arrays, "float64")
    check(second, truth("attention", {"key_lengths": LENGTHS, **NAN_IN_PADDING}), room_arrays, "float64")


def test_keras_refuses_what_jax_would_round(room: ModuleType) -> None:
    if not room.__name__.endswith("keras") or engine(room) != "jax":
        pytest.skip("only JAX rounds float64 silently")
    jax = importlib.import_module("jax")
    with jax.enable_x64(False), pytest.raises(spec.SpecificationError, match="JAX_ENABLE_X64"):
        room.attention(QUERY, KEY, VALUE)
