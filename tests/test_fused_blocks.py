"""The fused path of a backend: the vectors, and every option alone and in pairs at the edges of tiles and blocks.

The truth is NumPy's formula in float64, and NumPy's closed form of the gradients; that formula conforms with the
vectors, which come from the specification.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from attention_ref.conformance import check
from attention_ref.conformance.frameworks.interface import Framework
from attention_ref.numpy import attention as formula
from attention_ref.numpy.gradients import attention_gradients
from attention_ref.spec import SpecificationError

B, H, G, D, V = 2, 4, 2, 8, 8
EDGES = (63, 64, 65, 127, 128, 129)
ROUNDINGS = 64
"""The largest error of a result, in units of its largest number; the largest measured in any framework was 24."""

OPTIONS = (
    "mask",
    "bias",
    "hiding bias",
    "causal",
    "query_offset",
    "offsets",
    "window",
    "key_lengths",
    "scale",
    "zero scale",
    "softcap",
    "sinks",
    "dropout",
    "return_log_sum_exp",
)
SAME = {("bias", "hiding bias"), ("scale", "zero scale"), ("query_offset", "offsets")}
PAIRS = [pair for pair in itertools.combinations(OPTIONS, 2) if pair not in SAME]


def numbers(generator: np.random.Generator, *shape: int) -> np.ndarray:
    """Multiples of 1/64 from -2 to 2, which every dtype holds exactly."""
    return generator.integers(-128, 129, size=shape) / 64


def call_of(names: tuple[str, ...], query_length: int, key_length: int, value_size: int = V) -> dict[str, Any]:
    """Return the arguments of a call with the named options."""
    generator = np.random.default_rng(query_length + 7 * key_length)
    sizes = {"query": (B, H, query_length, D), "key": (B, G, key_length, D), "value": (B, G, key_length, value_size)}
    call: dict[str, Any] = {name: numbers(generator, *size) for name, size in sizes.items()}
    keys = np.arange(key_length)
    options: dict[str, dict[str, Any]] = {
        "mask": {"mask": (generator.random((B, 1, query_length, key_length)) < 0.7) & (keys != 3)},
        "bias": {"bias": numbers(generator, H, 1, key_length)},
        "hiding bias": {"bias": np.where(keys % 3 == 0, -np.inf, numbers(generator, 1, query_length, key_length))},
        "causal": {"causal": True},
        "query_offset": {"causal": True, "query_offset": 5},
        "offsets": {"causal": True, "query_offset": np.array([-17, 40])},  # 17 queries of the first row see no key
        "window": {"window": (30, 2)},
        "key_lengths": {"key_lengths": np.array([key_length - 20, 0])},
        "scale": {"scale": -0.3},
        "zero scale": {"scale": 0.0},
        "softcap": {"softcap": 1.5},
        "sinks": {"sinks": numbers(generator, H)},
        "dropout": {"dropout": 0.25, "dropout_mask": generator.random((H, query_length, key_length)) < 0.75},
        "return_log_sum_exp": {"return_log_sum_exp": True},
    }
    for name in names:
        call |= options[name]
    return call


def made(arrays: Framework, call: Mapping[str, Any], dtype: str) -> dict[str, Any]:
    """Make the arrays of a call, its numbers in `dtype`."""
    given = {name: item for name, item in call.items() if isinstance(item, np.ndarray)}
    kinds = {name: dtype if item.dtype.kind == "f" else item.dtype.name for name, item in given.items()}
    return dict(call) | {name: arrays.make(item, kinds[name]) for name, item in given.items()}


def assert_close(found: np.ndarray, expected: np.ndarray, dtype: str, message: str = "") -> None:
    finite = np.abs(expected[np.isfinite(expected)])
    unit = {"float64": 2.0**-53, "float32": 2.0**-24}[dtype]
    allowed = ROUNDINGS * unit * max(1.0, finite.max(initial=0))
    np.testing.assert_allclose(found, expected, rtol=0, atol=allowed, err_msg=message)


def compare(room: ModuleType, arrays: Framework, call: Mapping[str, Any], dtype: str) -> None:
    expected = formula(**call, implementation="reference")
    results = room.attention(**made(arrays, call, dtype), implementation="fused")
    expected, results = (x if isinstance(x, tuple) else (x,) for x in (expected, results))
    for result, number in zip(results, expected, strict=True):
        assert arrays.dtype(result) == dtype
        assert_close(arrays.read(result), number, dtype)
    is_empty = ~(np.abs(expected[0]) > 0).any(axis=-1)
    assert (arrays.read(results[0])[is_empty] == 0).all()


@pytest.mark.long
@pytest.mark.parametrize("implementation", ["fused", "reference"])
def test_both_paths_conform(room: ModuleType, implementation: str) -> None:
    function, arrays = partial(room.attention, implementation=implementation), room.__name__.rpartition(".")[-1]
    gradient = attention_gradients if arrays == "numpy" else None
    is_slow = compiles_all(room)
    names = ("core", "causal", "window", "padding") if is_slow else None
    dtypes = ("float64",) if is_slow else ("float64", "float32", "float16", "bfloat16")
    check(function, arrays=arrays, profiles=names, dtypes=dtypes, gradient=gradient).raise_for_failures()


def compiles_all(room: ModuleType) -> bool:
    """Return whether it is Keras on JAX, which compiles every operation for every shape."""
    return room.__name__.endswith("keras") and pytest.importorskip("keras").backend.backend() == "jax"


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", [*OPTIONS, "nothing"])
def test_an_option_at_every_edge(room: ModuleType, room_arrays: Framework, name: str, dtype: str) -> None:
    if compiles_all(room) and dtype == "float32":
        pytest.skip("JAX compiles every dtype anew; there float64, the sharper, stands for both")
    names = () if name == "nothing" else (name,)
    for position, query_length in enumerate(EDGES[-1:] if compiles_all(room) else EDGES):
        compare(room, room_arrays, call_of(names, query_length, EDGES[position - 1]), dtype)


@pytest.mark.parametrize("names", PAIRS, ids=" and ".join)
def test_two_options(room: ModuleType, room_arrays: Framework, names: tuple[str, str]) -> None:
    position = PAIRS.index(names)
    if compiles_all(room) and position % 8:
        pytest.skip("JAX compiles every shape anew; there an eighth of the pairs stands for all")
    sizes = (EDGES[position % 6], EDGES[position // 6 % 6])
    compare(room, room_arrays, call_of(names, *sizes, value_size=V - position % 2 * 3), "float64")


@pytest.mark.parametrize("name", ["causal", "offsets", "window", "softcap"])
def test_many_blocks(room: ModuleType, room_arrays: Framework, name: str) -> None:
    compare(room, room_arrays, call_of((name,), 1000, 1000), "float32")


@pytest.mark.parametrize("names", [(), ("causal",), ("offsets", "window"), ("key_lengths", "bias")], ids=str)
def test_one_query_of_a_long_cache(room: ModuleType, room_arrays: Framework, names: tuple[str, ...]) -> None:
    compare(room, room_arrays, call_of(names, 1, 129), "float32")


@pytest.mark.parametrize("names", [("return_log_sum_exp",), ("sinks", "return_log_sum_exp"), ("bias",)], ids=str)
@pytest.mark.parametrize("rule", [{"query_offset": -100}, {"key_lengths": np.array([0, 0])}, {"query_offset": 300}])
def test_blocks_that_see_no_key(
    room: ModuleType, room_arrays: Framework, names: tuple[str, ...], rule: dict[str, Any]
) -> None:
    call = call_of(names, 5, 70) | {"window": (9, 0)} | rule
    compare(room, room_arrays, call, "float64")


@pytest.mark.parametrize("names", [(), *((name,) for name in OPTIONS[:-1]), ("offsets", "window")], ids=str)
def test_gradients(room: ModuleType, room_arrays: Framework, names: tuple[str, ...]) -> None:
    if room.__name__.endswith("numpy"):
        pytest.skip("NumPy has the closed form alone")
    call = call_of(names, 129, 65)
    cotangent = numbers(np.random.default_rng(1), B, H, 129, V)
    inputs = {name: item for name, item in call.items() if getattr(item, "dtype", None) == np.float64}
    options = {name: item for name, item in call.items() if name not in inputs}
    expected = attention_gradients(**inputs, cotangent=cotangent, **options)
    options = made(room_arrays, options, "float64")
    found = room_arrays.differentiate(
        lambda inputs: [room.attention(**inputs, **options, implementation="fused")],
        made(room_arrays, inputs, "float64"),
        [room_arrays.make(cotangent, "float64")],
    )
    for name, gradient in found.items():
        numbers_found = room_arrays.read(gradient)
        assert_close(numbers_found, expected[name], "float64", name)
        assert (numbers_found[expected[name] == 0] == 0).all(), name


@pytest.mark.parametrize("hidden", ["padding", "mask"])
@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
def test_what_is_hidden_reaches_nothing(room: ModuleType, room_arrays: Framework, poison: float, hidden: str) -> None:
    call = call_of((), 65, 70)
    rule = {"key_lengths": np.array([50, 60])} if hidden == "padding" else {"mask": np.arange(70) < 50}
    is_hidden = np.arange(70) >= np.array([50, 60 if hidden == "padding" else 50])[:, None]  # (b,k)
    poisoned = {n: np.where(is_hidden[:, None, :, None], poison, call[n]) for n in ("key", "value")}
    expected = formula(**call, **rule, implementation="reference")
    found = room.attention(**made(room_arrays, call | rule | poisoned, "float64"), implementation="fused")
    assert_close(room_arrays.read(found), expected, "float64")


@pytest.mark.parametrize("name", ["query", "key", "value"])
def test_what_is_not_finite_reaches_whom_it_should(room: ModuleType, room_arrays: Framework, name: str) -> None:
    for poison in (np.nan, np.inf, -np.inf):
        call = call_of(("causal",), 65, 65)
        call[name][0, 1, 40, 2] = poison
        expected = formula(**call, implementation="reference")
        assert 0 < np.isfinite(expected[0]).sum() < expected[0].size or name == "key"
        found = room_arrays.read(room.attention(**made(room_arrays, call, "float64"), implementation="fused"))
        assert (np.isnan(found) == np.isnan(expected)).all()
        assert_close(found, expected, "float64")


def test_scores_that_overflow_are_no_number(room: ModuleType, room_arrays: Framework) -> None:
    """All scores of a row are -inf in float32: its softmax is NaN in the formula, and a kernel would answer 0."""
    call = call_of((), 3, 4)
    call |= {"query": call["query"] * 0 + 1e30, "key": call["key"] * 0 - 1e30}
    for implementation in ("fused", "reference"):
        found = room.attention(**made(room_arrays, call, "float32"), implementation=implementation)
        assert np.isnan(room_arrays.read(found)).all()


@pytest.mark.parametrize("implementation", ["fast", None, True, 1])
def test_an_unknown_implementation_is_refused(room: ModuleType, room_arrays: Framework, implementation: Any) -> None:
    call = made(room_arrays, call_of((), 3, 4), "float64")
    with pytest.raises(SpecificationError, match="implementation must be 'auto', 'fused' or 'reference'"):
        room.attention(**call, implementation=implementation)


def test_weights_and_taps_take_the_reference_path(room: ModuleType, room_arrays: Framework) -> None:
    call = made(room_arrays, call_of(("causal",), 5, 5), "float64")
    named: dict[str, Any] = {}
    output = room.attention(**call, implementation="fused", tap=named.__setitem__)
    again, weights = room.attention(**call, implementation="fused", return_weights=True)
    assert list(named) == ["scores", "weights"]
    np.testing.assert_array_equal(room_arrays.read(weights), room_arrays.read(named["weights"]))
    np.testing.assert_array_equal(room_arrays.read(again), room_arrays.read(output))


def test_gradients_of_many_scores_take_memory_for_a_block() -> None:
    """PyTorch would keep the weights of every block: with a softcap, 3 arrays of 64 MiB of 2,048 queries and keys."""
    torch = pytest.importorskip("torch")
    from attention_ref.torch import attention

    kept, length = [], 2080
    rows = torch.ones(1, 4, length, 4, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor.numel()) or tensor, lambda x: x):
        output = attention(rows, rows, rows, softcap=2.0)
    assert sum(kept) < length * length
    (gradient,) = torch.autograd.grad(output.sum(), rows)
    np.testing.assert_allclose(gradient.numpy(), 1, rtol=1e-5)  # weights are equal, and every value is seen once in all
