"""Gradients are those of the specification: PyTorch's, TensorFlow's and JAX's autograd, and NumPy's closed form.

The truth is read off the specification's tape. Rows that see no key, and padding, have gradients of exactly 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from attention_ref import spec
from attention_ref.conformance.frameworks.interface import Framework
from attention_ref.numpy.gradients import attention_gradients
from attention_ref.spec.trace import Traced, gradients
from attention_ref.vectors.array_forms import to_spec

B, H, G, Q, K, D, V = 2, 4, 2, 3, 5, 4, 3
ROUNDINGS = 32
"""The gradients, numbers around 1, may be off by so many units of 1; the worst seen in any framework was 9."""

RANDOM = np.random.default_rng(2027)


def numbers(*shape: int) -> np.ndarray:
    return RANDOM.integers(-128, 129, size=shape) / 64


QUERY, KEY, VALUE = numbers(B, H, Q, D), numbers(B, G, K, D), numbers(B, G, K, V)
BIAS, SINKS, MASK = numbers(H, 1, K), numbers(H), RANDOM.random((B, 1, Q, K)) < 0.6
HIDING_BIAS = np.where(RANDOM.random((H, 1, K)) < 0.3, -np.inf, BIAS)
EMPTY_ROWS = {"causal": True, "query_offset": np.array([-2, -Q])}  # two rows of the first batch row, all of the second
LENGTHS = np.array([3, 0])
IS_PADDING = (np.arange(K) >= LENGTHS[:, None, None])[..., None]  # (b,1,k,1)
POISON = {"key": np.where(IS_PADDING, np.nan, KEY), "value": np.where(IS_PADDING, np.inf, VALUE)}

CASES: dict[str, dict[str, Any]] = {
    "grouped heads": {},
    "one head for each": {"key": numbers(B, H, K, D), "value": numbers(B, H, K, V)},
    "scale": {"scale": -0.3},
    "softcap": {"softcap": 1.5},
    "bias": {"bias": numbers(B, H, Q, K)},
    "bias that is broadcast and hides": {"bias": HIDING_BIAS},
    "sinks": {"sinks": SINKS},
    "causal window": {"causal": True, "query_offset": np.array([1, 2]), "window": (1, 0)},
    "mask": {"mask": MASK},
    "empty rows": EMPTY_ROWS,
    "empty rows with sinks too large for exp": {**EMPTY_ROWS, "sinks": SINKS * 1000},
    "dropout": {"dropout": 0.25, "dropout_mask": RANDOM.random((Q, K)) < 0.6, "mask": MASK},
    "poison in padding": {"key_lengths": LENGTHS, **POISON, "sinks": SINKS},
    "no keys": {"key": KEY[:, :, :0], "value": VALUE[:, :, :0], "sinks": SINKS},
    "everything": POISON
    | {"key_lengths": LENGTHS, "bias": HIDING_BIAS, "sinks": SINKS, "softcap": 2.0, "scale": 0.75, "mask": MASK}
    | {"dropout": 0.25, "dropout_mask": RANDOM.random((Q, K)) < 0.6}
    | {"causal": True, "query_offset": np.array([0, 1]), "window": (2, None)},
}

SEEN = np.ones((Q, K), bool)
SEEN[0], SEEN[:, -1] = False, False
POISON_BEHIND_MASK = {
    "mask": SEEN,
    "query": np.where(SEEN.any(axis=1)[:, None], QUERY, np.nan),
    "key": np.where(SEEN.any(axis=0)[:, None], KEY, [np.nan, np.inf, -np.inf, 1]),
    "value": np.where(SEEN.any(axis=0)[:, None], VALUE, [np.nan, np.inf, 1]),
}
KERNELS = {"query_kernel": numbers(D, 6) / 4, "key_kernel": numbers(D, 6) / 4, "score_kernel": numbers(6)}
OTHER_SCORES: dict[str, tuple[str, dict[str, Any]]] = {
    "additive": ("additive_attention", KERNELS),
    "additive without kernels": ("additive_attention", {"score_kernel": numbers(D)}),
    "general": ("multiplicative_attention", {"score_kernel": numbers(D, D)}),
    "dot": ("multiplicative_attention", {}),
}


def split(case: Mapping[str, Any]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return the inputs that have gradients, and the other arguments."""
    case = {"query": QUERY, "key": KEY, "value": VALUE} | dict(case)
    inputs = {name: x for name, x in case.items() if isinstance(x, np.ndarray) and x.dtype == np.float64}
    return inputs, {name: x for name, x in case.items() if name not in inputs}


def truth(
    case: Mapping[str, Any], results: int, operation: str = "attention"
) -> tuple[dict[str, np.ndarray], list[np.ndarray]]:
    """Return the specification's gradients of the first results, and the cotangents that they are for."""
    inputs, options = split(case)
    traced = {name: to_spec(x).map(Traced) for name, x in inputs.items()}
    options = {name: to_spec(x) for name, x in options.items()}
    outputs = getattr(spec, operation)(**traced, **options, return_weights=True, return_log_sum_exp=True)[:results]
    generator = np.random.default_rng(7)
    cotangents = [generator.integers(-64, 65, size=output.shape) / 32 for output in outputs]
    pairs = [
        (number, cotangent)
        for output, factors in zip(outputs, cotangents, strict=True)
        for number, cotangent in zip(output.values, factors.ravel().tolist(), strict=True)
        if isinstance(number, Traced)  # the numbers of an empty row are constants
    ]
    flat = [number for array in traced.values() for number in array.values]
    found = iter(gradients([number for number, _ in pairs], [cotangent for _, cotangent in pairs], flat))
    expected = {name: np.reshape([float(next(found)) for _ in range(x.size)], x.shape) for name, x in inputs.items()}
    return expected, cotangents


Arguments = dict[str, Any]


def autograd(
    room: ModuleType,
    arrays: Framework,
    case: Mapping[str, Any],
    cotangents: list[np.ndarray],
    operation: str = "attention",
) -> Arguments:
    inputs, options = ({n: make(arrays, x) for n, x in part.items()} for part in split(case))

    def function(inputs: Arguments) -> list[Any]:
        outputs = getattr(room, operation)(**inputs, **options, return_weights=True, return_log_sum_exp=True)
        return list(outputs[: len(cotangents)])

    return arrays.differentiate(function, inputs, [make(arrays, cotangent) for cotangent in cotangents])


def make(arrays: Framework, item: Any) -> Any:
    return arrays.make(item, item.dtype.name) if isinstance(item, np.ndarray) else item


def is_constant(case: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Return for every query and key whether no result depends on it: the query sees no key, or no query sees it."""
    inputs, options = split(case)
    names = ("mask", "causal", "query_offset", "window", "key_lengths")
    rules = {name: options[name] for name in names if name in options} | {"bias": inputs.get("bias")}
    rules = {name: to_spec(rule) for name, rule in rules.items()}
    found = spec.visible_keys((B, H, Q, inputs["key"].shape[-2]), **rules)
    visible = np.reshape(np.array(found.values, bool), found.shape)
    groups = inputs["key"].shape[-3]
    by_group = visible.reshape(B, groups, H // groups * Q, -1)  # (b,h,q,k) -> (b,g,h/g*q,k)
    return {"query": ~visible.any(axis=-1), "key": ~by_group.any(axis=-2), "value": ~by_group.any(axis=-2)}


def check(found: Arguments, expected: dict[str, np.ndarray], arrays: Framework, case: Mapping[str, Any]) -> None:
    assert found.keys() == expected.keys()
    allowed = ROUNDINGS * 2.0**-53
    for name, gradient in found.items():
        assert arrays.dtype(gradient) == "float64"
        numbers_found = arrays.read(gradient)
        np.testing.assert_allclose(numbers_found, expected[name], rtol=allowed, atol=allowed, err_msg=name)
        assert np.isfinite(numbers_found).all()
    for name, constant in is_constant(case).items():
        assert (arrays.read(found[name])[constant] == 0).all(), name


@pytest.mark.parametrize("name", CASES)
def test_gradients_are_those_of_the_spec(room: ModuleType, room_arrays: Framework, name: str) -> None:
    case = CASES[name]
    expected, cotangents = truth(case, results=1)
    if room.__name__.endswith("numpy"):
        inputs, options = split(case)
        found = attention_gradients(**inputs, cotangent=cotangents[0], **options)
    else:
        found = autograd(room, room_arrays, case, cotangents)
    check(found, expected, room_arrays, case)


@pytest.mark.parametrize("name", ["sinks", "empty rows", "empty rows with sinks too large for exp", "everything"])
def test_weights_and_log_sum_exp_have_gradients_too(room: ModuleType, room_arrays: Framework, name: str) -> None:
    if room.__name__.endswith("numpy"):
        pytest.skip("NumPy has the gradients of the output alone")
    expected, cotangents = truth(CASES[name], results=3)
    check(autograd(room, room_arrays, CASES[name], cotangents), expected, room_arrays, CASES[name])


@pytest.mark.parametrize("hidden_by", [{"key_lengths": LENGTHS, **POISON}, POISON_BEHIND_MASK], ids=", ".join)
@pytest.mark.parametrize("name", OTHER_SCORES)
def test_what_is_hidden_reaches_no_gradient_of_other_scores(
    room: ModuleType, room_arrays: Framework, name: str, hidden_by: dict[str, Any]
) -> None:
    if room.__name__.endswith("numpy"):
        pytest.skip("NumPy has the gradients of attention alone")
    operation, kernels = OTHER_SCORES[name]
    case = kernels | hidden_by
    expected, cotangents = truth(case, 3, operation)
    check(autograd(room, room_arrays, case, cotangents, operation), expected, room_arrays, case)


def test_the_cases_have_rows_and_keys_that_nothing_depends_on() -> None:
    for name in ("empty rows", "poison in padding", "everything"):
        constant = is_constant(CASES[name])
        assert all(0 < constant[part].sum() < constant[part].size for part in ("query", "key", "value")), name


@pytest.mark.parametrize("cotangent", [np.zeros((B, H, Q, V + 1)), np.zeros((B, H, Q, V), np.float32)], ids=str)
def test_numpy_refuses_a_cotangent_that_is_no_output(cotangent: np.ndarray) -> None:
    with pytest.raises(spec.SpecificationError, match=r"cotangent must have .* \(2, 4, 3, 3\) and float64"):
        attention_gradients(QUERY, KEY, VALUE, cotangent)
