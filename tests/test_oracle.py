"""The oracle: its sizes are the tape's, its truth is the vectors' and PyTorch's, and kernels keep its budgets."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any

import mpmath
import numpy as np
import pytest

from attention_ref import oracle, spec
from attention_ref.conformance.budget import budget, compare
from attention_ref.conformance.case import Case, cases
from attention_ref.spec import SpecificationError
from attention_ref.vectors import profiles
from tests import oracle_evidence

DTYPES = ("float32", "bfloat16", "float16")
DISTRIBUTIONS = ("normal", "scores of hundreds", "near ties", "magnitudes of 1e-4")
LENGTHS = ((130, 257, 64, False), (200, 200, 128, True), (33, 1024, 16, False))  # q, k, d, causal
SHARP = 1 / 60


def _rng(*seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def _worst(got: Any, result: oracle.Result, dtype: str) -> float:
    return float(np.max(compare(np.asarray(got), result.values, budget(result.rounding, dtype)).error_ratio, initial=0))


@pytest.mark.parametrize("first", [0, 10_000])
def test_sizes_are_those_of_the_tape(first: int) -> None:
    for seed in range(first, first + 60):
        for (name, kind), values in oracle_evidence.ratios(oracle_evidence.draw(seed)).items():
            assert oracle_evidence.is_within(kind, values), (seed, name, kind, values.min(), values.max())


def _called(case: Case) -> tuple[dict[str, Any], dict[str, Any]]:
    options = {name: option for name, option in case.call.options.items() if name != "return_log_sum_exp"}
    return dict(case.call.inputs), options


def _truth(case: Case) -> Mapping[str, oracle.Result]:
    """Return the oracle's results for a case."""
    inputs, options = _called(case)
    if case.cotangents:
        return oracle.gradients(**inputs, cotangent=case.cotangents["output"], **options)
    return oracle.attention(**inputs, **options)._asdict()


@pytest.mark.parametrize("profile", [*profiles("attention"), "grad"])
def test_truth_is_that_of_the_vectors(profile: str) -> None:
    refused = 0
    for case in cases("attention", profile):
        try:
            found = _truth(case)
        except SpecificationError:  # a NaN or infinity that a query sees, the errors of which have no size
            refused += 1
            continue
        for name, expected in case.expected.items():
            error_ratio = compare(
                found[name].values, expected.values, budget(expected.roundings, "float64")
            ).error_ratio
            assert np.max(error_ratio, initial=0) < 1, (case.id, name)
            assert np.array_equal(found[name].rounding.arithmetic == 0, expected.roundings.arithmetic == 0) or (
                np.max(expected.roundings.arithmetic[found[name].rounding.arithmetic == 0], initial=0) == 0
            ), (case.id, name)
    assert refused < len(cases("attention", profile)) / 2


def _precise(array: np.ndarray) -> spec.Array:
    return spec.Array(array.shape, [mpmath.mpf(number) for number in array.ravel().tolist()], "real")


@pytest.mark.parametrize("size", [1.0, 12.0])
def test_the_error_of_the_truth_is_within_what_it_adds_to_budgets_of_float64(size: float) -> None:
    rng = _rng(1)
    arrays = {name: rng.normal(size=(1, length, 24)) for name, length in (("query", 3), ("key", 150), ("value", 150))}
    arrays["query"] *= size
    with mpmath.workdps(40):
        output, log_sum_exp = spec.attention(
            *map(_precise, arrays.values()), causal=True, query_offset=140, return_log_sum_exp=True
        )
        found = oracle.attention(**arrays, causal=True, query_offset=140)
        for expected, result in ((output, found.output), (log_sum_exp, found.log_sum_exp)):
            numbers = result.values.ravel().tolist()
            errors = np.array([float(abs(got - true)) for got, true in zip(numbers, expected.values, strict=True)])
            sizes = 2.0**-53 * result.rounding.double.ravel()
            assert np.max(errors / sizes) < 8
            assert np.max(errors) > 0  # it is not by chance that float64 has an error of its own


def _reference(torch: ModuleType, arrays: Mapping[str, Any], options: Mapping[str, Any]) -> Any:
    """Compute attention by PyTorch in float64, from the formula, for one batch row with groups of two heads."""
    key, value = (arrays[name].repeat_interleave(2, dim=1) for name in ("key", "value"))
    scores = options["scale"] * arrays["query"] @ key.transpose(-1, -2)
    scores = options["softcap"] * torch.tanh(scores / options["softcap"]) + arrays["bias"]
    q, k = scores.shape[-2:]
    distance = torch.arange(k) - torch.arange(q)[:, None] - options["query_offset"]
    scores = scores.masked_fill((distance > 0) | (distance < -options["window"][0]), -torch.inf)
    sinks = arrays["sinks"][None, :, None, None].expand(*scores.shape[:-1], 1)
    weights = torch.softmax(torch.cat([scores, sinks], dim=-1), dim=-1)[..., :-1]
    kept = torch.tensor(options["dropout_mask"]).double() / (1 - options["dropout"])
    return weights * kept @ value


@pytest.mark.parametrize("bias", [(1, 4, 70, 90), (70, 90), (4, 1, 90), (4, 70, 1), (1, 1)])
def test_gradients_are_those_of_pytorch_in_float64(bias: tuple[int, ...]) -> None:
    torch = pytest.importorskip("torch")
    rng = _rng(2)
    shapes = {"query": (1, 4, 70, 12), "key": (1, 2, 90, 12), "value": (1, 2, 90, 7), "bias": bias, "sinks": (4,)}
    arrays = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    cotangent = rng.normal(size=(1, 4, 70, 7))
    options = {"causal": True, "query_offset": 20, "window": (60, None), "scale": 0.3, "softcap": 3.0}
    options |= {"dropout": 0.25, "dropout_mask": rng.random((4, 70, 90)) < 0.75}
    leaves = {name: torch.tensor(array, requires_grad=True) for name, array in arrays.items()}
    output = _reference(torch, leaves, options)
    output.backward(torch.tensor(cotangent))
    assert _worst(output.detach(), oracle.attention(**arrays, **options).output, "float64") < 1
    found = oracle.gradients(**arrays, cotangent=cotangent, **options)
    assert found.keys() == leaves.keys()
    for name, leaf in leaves.items():
        assert _worst(leaf.grad, found[name], "float64") < 1, name


def test_heads_rows_and_groups_are_parts_of_the_whole() -> None:
    rng = _rng(3)
    query, key, value = (rng.normal(size=(2, heads, n, 8)) for heads, n in ((6, 20), (3, 30), (3, 30)))
    options = {
        "bias": rng.normal(size=(6, 20, 30)),
        "sinks": rng.normal(size=6),
        "causal": True,
        "query_offset": [0, 9],
    }
    whole = oracle.attention(query, key, value, **options, return_weights=True)
    part = oracle.attention(query, key, value, **options, return_weights=True, heads=[4, 1], rows=[19, 0, 7])
    for expected, found in zip(whole, part, strict=True):
        for one, other in zip((expected.values, *expected.rounding), (found.values, *found.rounding), strict=True):
            np.testing.assert_allclose(other, one[:, [4, 1]][:, :, [19, 0, 7]], rtol=1e-10, atol=1e-14)
    cotangent = rng.normal(size=query.shape)
    slopes, some = (oracle.gradients(query, key, value, cotangent, **options, groups=g) for g in (None, [2]))
    heads = {"query": np.s_[:, 4:], "key": np.s_[:, 2:], "value": np.s_[:, 2:], "bias": np.s_[4:], "sinks": np.s_[4:]}
    for name, place in heads.items():
        np.testing.assert_allclose(some[name].values, slopes[name].values[place], rtol=1e-12)
        size = slopes[name].rounding.arithmetic[place]
        np.testing.assert_allclose(some[name].rounding.arithmetic, size, rtol=1e-12)
    shared = oracle.gradients(query, key, value, cotangent, bias=np.zeros((20, 30)), groups=[2])
    assert "bias" not in shared


@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_nothing_hidden_reaches_a_result(poison: float) -> None:
    rng = _rng(4)
    query, key, value = (rng.normal(size=(2, 1, n, 8)) for n in (5, 9, 9))
    options = {"key_lengths": [0, 6], "mask": np.ones((1, 1, 5, 9), bool)}
    options["mask"][..., 2] = False
    options["mask"][..., 4, :] = False
    clean = oracle.attention(query, key, value, **options), oracle.gradients(query, key, value, query, **options)
    for array in (key, value):
        array[0] = array[1, :, 6:] = array[:, :, 2] = poison
    query[0, :, 0] = query[:, :, 4] = poison
    cotangent = np.where(np.isfinite(query), query, 1.0)
    truth = oracle.attention(query, key, value, **options)
    slopes = oracle.gradients(query, key, value, cotangent, **options)
    assert np.array_equal(truth.output.values, clean[0].output.values)
    assert np.all(truth.output.values[0] == 0)
    assert np.all(np.isneginf(truth.log_sum_exp.values[0]))
    for result in (truth.output, truth.log_sum_exp):
        assert all(np.all(field[0] == 0) for field in result.rounding)
    for name in ("key", "value"):
        hidden = slopes[name].values[1, 0, [2, 6, 7, 8]]
        assert np.all(hidden == 0)
        assert np.all(budget(slopes[name].rounding, "bfloat16")[1, 0, [2, 6, 7, 8]] == 0)
        np.testing.assert_array_equal(slopes[name].values[1], clean[1][name].values[1])


@pytest.mark.parametrize("name", ["query", "key", "value", "bias", "sinks"])
def test_what_is_seen_must_be_finite(name: str) -> None:
    arrays = {key: np.ones(shape) for key, shape in (("query", (1, 2, 3)), ("key", (1, 4, 3)), ("value", (1, 4, 5)))}
    arrays |= {"bias": np.zeros((1, 4)), "sinks": np.zeros(1)}
    arrays[name][0] = np.nan
    with pytest.raises(SpecificationError, match=f"{name} must be finite where a query sees it"):
        oracle.attention(**arrays)


def test_memory_is_linear_in_the_length(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("attention_ref.oracle.tiled_call.TILE", 2**13)

    def peak(length: int) -> int:
        arrays = [_rng(5).normal(size=(1, length, 8)) for _ in range(4)]
        tracemalloc.start()
        oracle.attention(*arrays[:3], causal=True)
        oracle.gradients(*arrays, causal=True)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    assert peak(1200) < 2.4 * peak(600)  # twice, were tiles not of whole rows


def _drawn(distribution: str, q: int, k: int, d: int, seed: int) -> list[np.ndarray]:
    rng = _rng(6, seed)
    query, key, value, cotangent = (rng.normal(size=(1, 2, length, d)) for length in (q, k, k, q))
    if distribution == "scores of hundreds":
        query, key = query * 16, key * 4
    elif distribution == "near ties":
        key = key[..., :1, :] + 1e-3 * key
    elif distribution == "magnitudes of 1e-4":
        return [array * 1e-4 for array in (query, key, value, cotangent)]
    return [query, key, value, cotangent]


def _error_ratios(torch: ModuleType, kernel: str, dtype: str, distribution: str) -> Iterator[float]:
    """Run a kernel of PyTorch and its backward pass; return the largest error of each result in units of its budget."""
    attention = torch.nn.functional.scaled_dot_product_attention
    for seed, (q, k, d, causal) in enumerate(LENGTHS):
        drawn = [torch.tensor(array).to(getattr(torch, dtype)) for array in _drawn(distribution, q, k, d, seed)]
        inputs, cotangent = [tensor.requires_grad_() for tensor in drawn[:3]], drawn[3]
        with torch.nn.attention.sdpa_kernel(getattr(torch.nn.attention.SDPBackend, kernel)):
            output = attention(*inputs, is_causal=causal)
            output.backward(cotangent)
        exact = [tensor.detach().double().numpy() for tensor in (*inputs, cotangent)]
        yield _worst(output.detach().double(), oracle.attention(*exact[:3], causal=causal).output, dtype)
        slopes = oracle.gradients(*exact, causal=causal)
        for tensor, name in zip(inputs, ("query", "key", "value"), strict=True):
            yield _worst(tensor.grad.double(), slopes[name], dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernel", ["MATH", "FLASH_ATTENTION"])
def test_kernels_of_pytorch_keep_the_budget_and_come_near_it(kernel: str, dtype: str) -> None:
    torch = pytest.importorskip("torch")
    ratios = {each: list(_error_ratios(torch, kernel, dtype, each)) for each in DISTRIBUTIONS}
    worst = {distribution: max(found) for distribution, found in ratios.items()}
    assert max(worst.values()) < 1, worst
    every = [error_ratio for found in ratios.values() for error_ratio in found]
    assert np.median(every) > SHARP


@pytest.mark.parametrize("size", [16, 64, 80, 128, 256])
def test_small_mistakes_exceed_the_budget(size: int) -> None:
    torch = pytest.importorskip("torch")
    attention = torch.nn.functional.scaled_dot_product_attention
    mistakes = {
        "float32": {"scale": (1 + 1e-4) * size**-0.5},
        "bfloat16": {"attn_mask": torch.arange(1024)[None] != 127},
    }
    for dtype, mistake in mistakes.items():
        tensors = [torch.tensor(a).to(getattr(torch, dtype)) for a in _drawn("normal", 64, 1024, size, 0)[:3]]
        truth = oracle.attention(*(tensor.double().numpy() for tensor in tensors)).output
        assert _worst(attention(*tensors).double(), truth, dtype) < 1
        assert _worst(attention(*tensors, **mistake).double(), truth, dtype) > 1, dtype
