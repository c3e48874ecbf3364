"""NumPy's attention in tiles: every option at the edges of tiles, and what tiles are for.

The expected values are those of the formula, written down here once more on whole matrices in float64. What may be lost
to rounding is the size of its roundings (as in `attention_ref.spec.trace`, in closed form), times its factor.
"""

from __future__ import annotations

import itertools
import math
import tracemalloc
from functools import partial
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
import pytest

from attention_ref import conformance, spec
from attention_ref.conformance.case_heads import profiles
from attention_ref.numpy import _threads, _tile_gradients, _tiles, attention, fused
from attention_ref.numpy._tiles import Scale
from attention_ref.numpy.gradients import attention_gradients
from attention_ref.spec.trace import FACTOR

UNITS = {"float64": 2.0**-53, "float32": 2.0**-24}
SIZES = [  # query and key lengths around the edges of tiles, and of what is computed in one piece
    (63, 1000),
    (64, 127),
    (65, 1000),
    (127, 1000),
    (128, 513),
    (129, 1000),
    (255, 512),
    (256, 511),
    (257, 64),
    (1000, 65),
    (1000, 129),
    (1, 1000),
]
B, H, G, D, V = 2, 2, 1, 8, 5


def options_for(q: int, k: int, random: np.random.Generator) -> dict[str, dict[str, Any]]:
    """Return every option by its name, for given lengths."""
    bias = random.standard_normal((B, H, q, k))
    return {
        "mask": {"mask": random.random((B, 1, q, k)) < 0.5},
        "mask of keys": {"mask": random.random((B, 1, 1, k)) < 0.5},
        "mask of blocks": {"mask": np.arange(k) % 600 < np.arange(q)[:, None] % 300},
        "bias": {"bias": bias},
        "bias of a head": {"bias": bias[:1, :, :1]},
        "bias that hides": {"bias": np.where(random.random((q, k)) < 0.5, -np.inf, bias[0, 0])},
        "causal": {"causal": True},
        "offset": {"causal": True, "query_offset": np.array([k - q, -3])},
        "window": {"window": (70, 9), "query_offset": np.array([0, k - q])},
        "lengths": {"key_lengths": np.array([k, k // 3])},
        "heads": {"heads": H},
        "scale": {"scale": -0.3},
        "softcap": {"softcap": 1.5},
        "sinks": {"sinks": random.standard_normal(H)},
        "dropout": {"dropout": 0.25, "dropout_mask": random.random((B, H, q, k)) < 0.75},
        "large scores": {"factor": 30.0},
    }


NAMES = list(options_for(2, 2, np.random.default_rng(0)))
PAIRS = [*((name,) for name in NAMES), *itertools.combinations(NAMES, 2)]


class Call(NamedTuple):
    """A call in float64, and its cotangent."""

    arrays: dict[str, np.ndarray]
    options: dict[str, Any]
    cotangent: np.ndarray

    def as_dtype(self, dtype: str) -> tuple[dict[str, np.ndarray], dict[str, Any], np.ndarray]:
        options = {
            name: x.astype(dtype) if isinstance(x, np.ndarray) and x.dtype == np.float64 else x
            for name, x in self.options.items()
        }
        return {name: x.astype(dtype) for name, x in self.arrays.items()}, options, self.cotangent.astype(dtype)


def call(names: tuple[str, ...], q: int, k: int, seed: int) -> Call:
    """Draw a call that has some options; its numbers are exact in float32."""
    random = np.random.default_rng(seed)

    def numbers(*shape: int) -> np.ndarray:
        return random.standard_normal(shape).astype(np.float32).astype(np.float64)

    every = options_for(q, k, random)
    options: dict[str, Any] = {}
    for name in names:
        options |= {key: x for key, x in every[name].items() if key not in ("mask", "bias") or key not in options}
    groups, factor = options.pop("heads", G), options.pop("factor", 1.0)
    for name in ("bias", "sinks"):
        if name in options:
            options[name] = options[name].astype(np.float32).astype(np.float64)
    arrays = {"query": numbers(B, H, q, D) * factor, "key": numbers(B, groups, k, D), "value": numbers(B, groups, k, V)}
    return Call(arrays, options, numbers(B, H, q, V))


class Truth(NamedTuple):
    """Results with the sizes of their roundings, each `(value, size)`."""

    output: tuple[np.ndarray, np.ndarray]
    log_sums: tuple[np.ndarray, np.ndarray]
    gradients: dict[str, tuple[np.ndarray, np.ndarray]]


def truth(given: Call) -> Truth:
    """Evaluate the formulas of attention and of its gradients, and the same formulas with absolute values."""
    options = given.options
    repeats = H // given.arrays["key"].shape[1]
    query, cotangent = given.arrays["query"], given.cotangent
    key, value = (np.repeat(given.arrays[name], repeats, axis=1) for name in ("key", "value"))
    q, k = query.shape[2], key.shape[2]
    scale, cap, bias = options.get("scale", 1 / math.sqrt(D)), options.get("softcap"), options.get("bias", 0.0)
    products = np.einsum("bhqd,bhkd->bhqk", query, key) * scale
    magnitudes = math.sqrt(D) * np.einsum("bhqd,bhkd->bhqk", abs(query), abs(key)) * abs(scale)
    tanh = np.zeros(()) if cap is None else np.tanh(products / cap)
    scores = products if cap is None else cap * tanh
    slope = scale * (1 - tanh**2)
    sizes = magnitudes * (1 - tanh**2) + 8 * abs(scores) + np.where(np.isfinite(bias), abs(bias), 0)
    visible = np.broadcast_to(np.asarray(bias) > -np.inf, scores.shape) & options.get("mask", True)
    offset = np.broadcast_to(options.get("query_offset", 0), (B,))[:, None, None, None]
    distance = np.arange(k) - np.arange(q)[:, None] - offset
    if options.get("causal"):
        visible = visible & (distance <= 0)
    if "window" in options:
        visible = visible & (distance >= -options["window"][0]) & (distance <= options["window"][1])
    visible = visible & (np.arange(k) < np.broadcast_to(options.get("key_lengths", k), (B,))[:, None, None, None])
    scores = np.where(visible, scores + np.where(np.isfinite(bias), bias, 0), -np.inf)

    sinks = options.get("sinks", np.full(H, -np.inf))[:, None, None]
    is_empty = ~visible.any(axis=-1, keepdims=True)
    top = np.where(is_empty, 0, np.maximum(scores.max(axis=-1, keepdims=True), sinks))
    exponentials, sink = np.exp(scores - top), np.exp(sinks - top)
    total = np.where(is_empty, 1, exponentials.sum(axis=-1, keepdims=True) + sink)
    weights, sink = exponentials / total, np.where(is_empty, 0, sink / total)
    kept = options.get("dropout_mask", True) / (1 - options.get("dropout", 0.0))
    output = np.einsum("bhqk,bhkv->bhqv", weights * kept, value)
    spread = (weights * sizes).sum(axis=-1, keepdims=True) + math.sqrt(k) + 8  # of the denominator
    output_size = np.einsum("bhqk,bhkv->bhqv", weights * kept * (sizes + spread), abs(value))
    log_sums = np.where(is_empty, -np.inf, top + np.log(total))
    log_size = spread + np.where(is_empty, 0, abs(log_sums))

    dw = np.einsum("bhqv,bhkv->bhqk", cotangent, value) * kept
    dw_size = np.einsum("bhqv,bhkv->bhqk", abs(cotangent), abs(value)) * kept
    expected, expected_size = ((weights * x).sum(axis=-1, keepdims=True) for x in (dw, dw_size))
    ds = weights * (dw - expected)
    trouble = sizes + 2 * spread + 8 + (weights * dw_size * sizes).sum(axis=-1, keepdims=True)
    ds_size = weights * (dw_size + expected_size) * trouble
    dp_size = ds_size * abs(scale)
    plain = {
        "query": (np.einsum("bhqk,bhkd->bhqd", ds * slope, key), np.einsum("bhqk,bhkd->bhqd", dp_size, abs(key))),
        "key": (np.einsum("bhqk,bhqd->bhkd", ds * slope, query), np.einsum("bhqk,bhqd->bhkd", dp_size, abs(query))),
        "value": (
            np.einsum("bhqk,bhqv->bhkv", weights * kept, cotangent),
            np.einsum("bhqk,bhqv->bhkv", weights * kept * (sizes + spread), abs(cotangent)),
        ),
        "bias": (ds, ds_size),
        "sinks": (-(sink * expected).sum(axis=(0, 2, 3)), (sink * expected_size * (spread + top)).sum(axis=(0, 2, 3))),
    }
    gradients = {}
    for name, array in (given.arrays | options).items():
        if name in ("key", "value"):
            gradients[name] = tuple(x.reshape(B, -1, repeats, *x.shape[2:]).sum(axis=2) for x in plain[name])
        elif name in plain:
            gradients[name] = tuple(summed_to(x, np.shape(array)) for x in plain[name])
    return Truth((output, output_size), (log_sums[..., 0], log_size[..., 0]), gradients)


def summed_to(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    missing = array.ndim - len(shape)
    axes = [
        *range(missing),
        *(i + missing for i, size in enumerate(shape) if size == 1 and array.shape[i + missing] > 1),
    ]
    return array.sum(axis=tuple(axes)).reshape(shape)


def assert_within(found: np.ndarray, expected: tuple[np.ndarray, np.ndarray], dtype: str, name: str) -> None:
    value, size = expected
    assert found.dtype == dtype
    assert found.shape == value.shape, name
    with np.errstate(invalid="ignore"):
        error = np.where(found == value, 0, np.abs(found - value))
    assert (error <= FACTOR * UNITS[dtype] * size + np.finfo(dtype).tiny).all(), name


@pytest.fixture
def no_formula(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail if a call takes the reference path instead of the fused one."""
    for module in ("attention", "gradients"):
        monkeypatch.delattr(import_module(f"attention_ref.numpy.{module}"), "materialize")


@pytest.mark.usefixtures("no_formula")
@pytest.mark.parametrize("names", PAIRS, ids=" and ".join)
def test_options_alone_and_in_pairs(names: tuple[str, ...]) -> None:
    number = PAIRS.index(names)
    given = call(names, *SIZES[number % len(SIZES)], seed=number)
    with np.errstate(all="ignore"):
        expected = truth(given)
    for dtype in UNITS:
        arrays, options, cotangent = given.as_dtype(dtype)
        output, log_sums = attention(**arrays, **options, implementation="fused", return_log_sum_exp=True)
        assert_within(output, expected.output, dtype, "output")
        assert_within(log_sums, expected.log_sums, dtype, "log-sum-exp")
        found = attention_gradients(**arrays, cotangent=cotangent, **options)
        assert list(found) == list(expected.gradients)
        for name, gradient in found.items():
            assert_within(gradient, expected.gradients[name], dtype, name)


@pytest.mark.parametrize("path", ["reference", "fused", "in tiles", "in tiles of 2 x 2"])
def test_every_path_conforms(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if path.startswith("in tiles"):
        monkeypatch.setattr(fused, "fits_at_once", lambda sizes: False)
    if path == "in tiles of 2 x 2":
        for module in (fused, _tiles, _tile_gradients):
            monkeypatch.setattr(module, "QUERIES", 2)
            monkeypatch.setattr(module, "KEYS", 2)
    report = conformance.check(
        partial(attention, implementation="reference" if path == "reference" else "fused"),
        profiles=profiles("attention"),
        dtypes=("float64", "float32", "float16", "bfloat16"),
        name=path,
        gradient=attention_gradients,
    )
    report.raise_for_failures()
    assert {result.verdict for result in report.results if "float" in result.dtype} == {"passed"}


@pytest.mark.parametrize("implementation", ["flash", "Fused", "", None, True, ["fused"]], ids=repr)
def test_an_unknown_implementation_is_refused(implementation: Any) -> None:
    rows = np.zeros((1, 1, 2, 2))
    with pytest.raises(spec.SpecificationError) as error:
        attention(rows, rows, rows, implementation=implementation)
    rule = "attention: implementation must be 'auto', 'fused' or 'reference'.\n  received "
    assert str(error.value) == f"{rule}{implementation!r}"


def rows_of(*shape: int, dtype: Any = np.float32, seed: int = 0) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    return [random.standard_normal(shape).astype(dtype) for _ in range(4)]


def test_weights_and_taps_take_the_formula() -> None:
    query, key, value, _ = rows_of(1, 2, 300, 8)
    _, weights = attention(query, key, value, implementation="fused", return_weights=True)
    seen: dict[str, np.ndarray] = {}
    attention(query, key, value, implementation="fused", tap=seen.__setitem__)
    assert weights.shape == (1, 2, 300, 300)
    np.testing.assert_array_equal(seen["weights"], weights)


POISONS = (np.nan, np.inf, -np.inf)


@pytest.mark.parametrize("length", [20, 700])
@pytest.mark.parametrize("poison", POISONS)
@pytest.mark.parametrize("name", ["key", "value"])
def test_what_is_not_finite_reaches_whom_it_should(name: str, poison: float, length: int) -> None:
    query, key, value, cotangent = rows_of(1, 1, length, 4, dtype=np.float64)
    poisoned = {"query": query, "key": key.copy(), "value": value.copy()}
    poisoned[name][0, 0, length // 2] = poison
    clean = attention(query, key, value, causal=True)
    found = attention(**poisoned, causal=True, implementation="fused")
    np.testing.assert_allclose(found[0, 0, : length // 2], clean[0, 0, : length // 2], rtol=1e-12)
    reference = attention(**poisoned, causal=True, implementation="reference")
    np.testing.assert_array_equal(np.isfinite(found), np.isfinite(reference))
    hidden = np.arange(length) != length // 2
    cleaned, gradients = (
        attention_gradients(**rows, cotangent=cotangent, mask=hidden)
        for rows in ({"query": query, "key": key, "value": value}, poisoned)
    )
    for part, gradient in gradients.items():
        np.testing.assert_allclose(gradient, cleaned[part], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("length", [20, 700])
def test_a_row_whose_visible_scores_are_all_minus_infinity_is_not_empty(length: int) -> None:
    query, key, value = (
        np.full((1, 1, length, 1), 1e300),
        np.full((1, 1, length, 1), -1e300),
        np.ones((1, 1, length, 1)),
    )
    assert np.isnan(attention(query, key, value, causal=True, implementation="fused")).all()
    output = attention(query, key, value, mask=np.zeros((1, length), bool), implementation="fused")
    assert (output == 0).all()


@pytest.mark.usefixtures("no_formula")
@pytest.mark.parametrize("length", [20, 700])
@pytest.mark.parametrize("score", [-1000, -100, -60, 60, 100, 1000])
def test_scores_far_from_zero_lose_nothing(score: float, length: int) -> None:
    """The weights are equal and the output is the mean of values, which a factor of `exp(-60)` would make 0."""
    query, key = np.full((1, 1, length, 1), score, np.float32), np.ones((1, 1, length, 1), np.float32)
    value = np.full((1, 1, length, 1), 1e-20, np.float32)
    output, log_sums = attention(query, key, value, implementation="fused", return_log_sum_exp=True)
    np.testing.assert_allclose(output, value, rtol=1e-6)
    np.testing.assert_allclose(log_sums, score + math.log(length), rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_low_precision_is_computed_in_float32(dtype: str) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    kind = np.dtype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    query, key, value, cotangent = rows_of(1, 2, 600, 8, dtype=kind)
    wide = [rows.astype(np.float32) for rows in (query, key, value, cotangent)]
    found, log_sums = attention(query, key, value, causal=True, implementation="fused", return_log_sum_exp=True)
    expected, expected_sums = attention(*wide[:3], causal=True, implementation="fused", return_log_sum_exp=True)
    np.testing.assert_array_equal(found, expected.astype(kind))
    np.testing.assert_array_equal(log_sums, expected_sums)
    gradients, of_wide = attention_gradients(query, key, value, cotangent), attention_gradients(*wide)
    for name, gradient in gradients.items():
        np.testing.assert_array_equal(gradient, of_wide[name].astype(kind))


@pytest.mark.parametrize("rank", range(5))
def test_masks_and_biases_of_any_rank(rank: int) -> None:
    query, key, value, _ = rows_of(2, 2, 300, 4, dtype=np.float64)
    shape = (2, 2, 300, 300)[4 - rank :]
    random = np.random.default_rng(rank)
    options = {
        "mask": np.asarray(random.random(shape) < 0.9),
        "bias": np.asarray(random.standard_normal(shape)),
        "dropout_mask": np.asarray(random.random(shape) < 0.9),
        "dropout": 0.1,
    }
    found, expected = (
        attention(query, key, value, **options, implementation=path, return_log_sum_exp=True)
        for path in ("fused", "reference")
    )
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("length", [12, 600])
def test_arrays_with_strides_and_no_batch(length: int) -> None:
    query, key, value, _ = rows_of(length, 2, 8, dtype=np.float64)  # as a layer projects them, heads second to last
    views = [rows.swapaxes(0, 1) for rows in (query, key, value)]
    found = attention(*views, causal=True, implementation="fused")
    expected = attention(*(view[None].copy() for view in views), causal=True, implementation="reference")
    np.testing.assert_allclose(found, expected[0], rtol=1e-12, atol=1e-13)


def test_one_and_two_threads_give_the_same_numbers_every_time(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("threadpoolctl")
    *rows, cotangent = rows_of(1, 3, 1100, 16)
    results = []
    for threads in ("1", "2", "2"):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        monkeypatch.setenv("OPENBLAS_NUM_THREADS", threads)
        monkeypatch.setenv("MKL_NUM_THREADS", threads)
        gradients = attention_gradients(*rows, cotangent, causal=True)
        single_head = attention(*(array[:, :1] for array in rows))  # shared out by its queries
        results.append([attention(*rows, causal=True), single_head, *gradients.values()])
    for others in results[1:]:
        for found, first in zip(others, results[0], strict=True):
            np.testing.assert_array_equal(found, first)


def test_threads_keep_to_the_limits_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in _threads.LIMITS:
        monkeypatch.delenv(name, raising=False)
    assert _threads.threads_for(10) == 1
    monkeypatch.setattr(_threads, "find_spec", lambda name: None)  # nothing holds the matrix library to one thread
    assert _threads.threads_for(2**40) == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "6")
    monkeypatch.setenv("MKL_NUM_THREADS", "3")
    assert _threads.threads_for(2**40) == 3


def test_the_limit_of_the_matrix_library_is_lifted_again() -> None:
    threadpoolctl = pytest.importorskip("threadpoolctl")

    def limits() -> list[int]:
        return [pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]

    inside: list[list[int]] = []
    before = limits()
    assert _threads.run(lambda piece: inside.append(limits()) is None, range(4), threads=2)
    assert all(set(found) == {1} for found in inside)
    assert limits() == before


def computed_scores(monkeypatch: pytest.MonkeyPatch, length: int, **options: Any) -> int:
    """Count the scores that a call computes."""
    counts: list[int] = []
    score = Scale.scores

    def counted(scale: Scale, rows: np.ndarray, key: np.ndarray, scratch: np.ndarray) -> np.ndarray:
        counts.append(len(rows) * len(key))
        return score(scale, rows, key, scratch)

    monkeypatch.setattr(Scale, "scores", counted)
    query, key, value, _ = rows_of(1, 1, length, 4)
    attention(query, key, value, **options)
    return sum(counts)


def test_tiles_without_visible_keys_are_not_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    length = 4096
    blocks = np.arange(length) // 1024
    for options, most in {
        "causal": ({"causal": True}, length * (length + 256) // 2),
        "window": ({"causal": True, "window": (256, 0)}, length * (256 + 256)),
        "far offset": ({"causal": True, "query_offset": -length}, 0),
        "lengths": ({"key_lengths": np.array([512])}, length * 512),
        "mask": ({"mask": blocks[:, None] == blocks}, length * 1024),
        "bias": ({"bias": np.where(blocks[:, None] == blocks, 0, -np.inf).astype(np.float32)}, length * 1024),
    }.values():
        with monkeypatch.context() as patch:
            assert computed_scores(patch, length, **options) <= most


def peak(function: Any) -> int:
    """Return how many bytes are held at most while a function runs."""
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("causal", [False, True])
def test_memory_at_length_4096(causal: bool) -> None:
    *rows, cotangent = rows_of(1, 2, 4096, 64)
    assert peak(lambda: attention(*rows, causal=causal)) < rows[0].nbytes + 10 * 2**20
    assert peak(lambda: attention_gradients(*rows, cotangent, causal=causal)) < 4 * rows[0].nbytes + 10 * 2**20


def test_a_window_at_length_32768() -> None:
    rows = rows_of(1, 1, 32768, 16)[:3]
    found: list[np.ndarray] = []
    assert peak(lambda: found.append(attention(*rows, causal=True, window=(256, 0)))) < 2**25
    last = [array[:, :, -257:] for array in rows]
    np.testing.assert_allclose(found[0][0, 0, -1], attention(*last)[0, 0, -1], rtol=1e-5, atol=1e-6)
