"""The truth in the vectors, computed again in other ways: NumPy formulas, finite differences, and how budgets grow."""

from __future__ import annotations

import math
from typing import Any

import mpmath
import numpy as np
import pytest

from attention_ref import spec, vectors
from attention_ref.conformance import ATTENTIONS
from attention_ref.vectors.build import attention_truth, recipe
from attention_ref.vectors.build.hashed_inputs import real_values

OPERATIONS = ATTENTIONS
DIFFERENTIATED = [
    "attention/core/plain",
    "attention/core/scale-negative",
    "attention/core/large-scores",
    "attention/causal/all-rules",
    "attention/gqa/bias-per-head",
    "attention/gqa/sinks-multi-query",
    "attention/softcap/mask-bias",
    "attention/bias/batch-keys",
    "attention/bias/excluding-a-row",
    "attention/sinks/empty-rows",
    "attention/dropout/sinks",
    "attention/padding/mask-and-poison",
    "additive_attention/core/kernels",
    "multiplicative_attention/core/general-of-two-sizes",
]


def _array(table: dict[str, Any]) -> np.ndarray:
    kinds = {"bool": bool, "integer": np.int64}
    kind = kinds.get(table.get("dtype"), np.longdouble)
    return np.array([kind(value) for value in table["values"]], kind).reshape(table["shape"])


def _per_row(numbers: np.ndarray) -> np.ndarray:
    return numbers.reshape(*numbers.shape, 1, 1, 1) if numbers.ndim else numbers


def _visible(shape: tuple[int, ...], a: dict[str, np.ndarray], options: dict[str, Any]) -> np.ndarray:
    distance = np.arange(shape[-1]) - np.arange(shape[-2])[:, None]
    distance = distance - _per_row(a.get("query_offset", np.array(options.get("query_offset", 0))))
    left, right = (math.inf if side is None else side for side in options.get("window", (None, None)))
    visible = np.ones(shape, bool) & a.get("mask", np.True_) & (a.get("bias", np.zeros(1)) != -np.inf)
    visible &= (distance <= 0) | (not options.get("causal", False))
    visible &= (distance >= -left) & (distance <= right)
    return visible & (np.arange(shape[-1]) < _per_row(a.get("key_lengths", np.array(shape[-1]))))


def _scores(operation: str, a: dict[str, np.ndarray], options: dict[str, Any]) -> np.ndarray:
    repeats = a["query"].shape[-3] // a["key"].shape[-3]
    left, right = a["query"][..., :, None, :], np.repeat(a["key"], repeats, axis=-3)[..., None, :, :]
    if operation == "additive_attention":
        left = (left[..., None] * a["query_kernel"]).sum(-2) if "query_kernel" in a else left
        right = (right[..., None] * a["key_kernel"]).sum(-2) if "key_kernel" in a else right
        return (np.tanh(left + right) * a["score_kernel"]).sum(-1)
    if "score_kernel" in a:
        left = (left[..., None] * a["score_kernel"]).sum(-2)
    scores = (left * right).sum(-1)
    if operation == "attention":
        scores = scores * options["scale"] if "scale" in options else scores / np.sqrt(np.longdouble(left.shape[-1]))
        if cap := options.get("softcap"):
            scores = np.longdouble(cap) * np.tanh(scores / np.longdouble(cap))
    return scores


def _attention(operation: str, a: dict[str, np.ndarray], options: dict[str, Any]) -> dict[str, np.ndarray]:
    """Attention in extended precision, written for nothing but these tests."""
    scores = _scores(operation, a, options)
    visible = _visible(scores.shape, a, options)
    scores = np.where(visible, scores + a.get("bias", 0), -np.inf)
    sink = a["sinks"][:, None, None] if "sinks" in a else np.longdouble(-np.inf)
    shift = np.maximum(scores.max(-1, keepdims=True, initial=-np.inf), sink)
    is_empty = ~visible.any(-1, keepdims=True)
    shift = np.where(is_empty, 0, shift)
    exponentials = np.where(visible, np.exp(scores - shift), 0)
    total = np.where(is_empty, 1, exponentials.sum(-1, keepdims=True) + np.exp(sink - shift))
    weights = exponentials / total
    kept = weights * a.get("dropout_mask", 1) / (1 - np.longdouble(1) * options.get("dropout", 0))
    values = np.repeat(a["value"], scores.shape[-3] // a["value"].shape[-3], axis=-3)[..., None, :, :]
    log_sum_exp = np.where(is_empty, -np.inf, shift + np.log(total))[..., 0]
    output = np.where(visible[..., None], kept[..., None] * values, 0).sum(-2)
    return {"output": output, "weights": weights, "log_sum_exp": log_sum_exp}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_formulas_in_numpy_give_the_same(operation: str) -> None:
    """Within 8 times the expected size of rounding errors, where extended precision is float64 as well."""
    for profile in vectors.profiles(operation):
        for case in vectors.load(operation, profile)["cases"]:
            arrays = {name: _array(table) for name, table in case["inputs"].items()}
            with np.errstate(all="ignore"):
                computed = _attention(operation, arrays, case["options"])
            for name, table in case["expected"].items():
                expected = _array(table)
                size, underflow = (
                    np.array(table["rounding"][field]).reshape(expected.shape) for field in ("arithmetic", "underflow")
                )
                allowed = 2.0**-53 * (8 * size + np.abs(np.where(np.isfinite(expected), expected, 0)))
                allowed += 2.0**-1022 * underflow + 1e-300  # extended precision does not underflow where float64 does
                with np.errstate(invalid="ignore"):
                    is_same = (np.abs(computed[name] - expected) <= allowed) | (computed[name] == expected)
                is_same |= np.isnan(computed[name]) & np.isnan(expected)
                assert is_same.all(), (case["id"], name, np.argwhere(~is_same)[:3].tolist())


@pytest.mark.parametrize("name", DIFFERENTIATED)
def test_gradients_are_central_differences(name: str) -> None:
    """The gradient along a random direction, to 12 digits, from values in 50 digits."""
    operation, profile, _ = name.split("/")
    case = next(case for case in vectors.load(operation, profile)["cases"] if case["id"] == name)
    gradient = case["gradient"]
    for moved, expected in gradient["expected"].items():
        direction = real_values("direction", moved, len(expected["values"]))
        along = math.fsum(d * value for d, value in zip(direction, expected["values"], strict=True))
        size = math.fsum(abs(d * value) for d, value in zip(direction, expected["values"], strict=True))
        with mpmath.workdps(50):
            step = mpmath.mpf(10) ** -16
            ahead, behind = (_weighted_sum(operation, case, moved, direction, sign * step) for sign in (1, -1))
            assert abs(float((ahead - behind) / (2 * step)) - along) <= 1e-12 * size, moved


def _weighted_sum(operation: str, case: dict[str, Any], moved: str, direction: list[float], step: Any) -> Any:
    """Sum cotangent * output with one input moved along a direction."""
    inputs = {}
    for name, table in case["inputs"].items():
        values = table["values"]
        if table["dtype"] == "real":
            values = [mpmath.mpf({"Infinity": "inf", "-Infinity": "-inf"}.get(value, value)) for value in values]
        if name == moved:
            values = [value + d * step for value, d in zip(values, direction, strict=True)]
        inputs[name] = spec.Array(table["shape"], values, table["dtype"])
    output = getattr(spec, operation)(**inputs, **case["options"])
    output = output[0] if isinstance(output, tuple) else output
    return sum(c * o for c, o in zip(case["gradient"]["cotangents"]["output"]["values"], output.values, strict=True))


def _case(name: str, **amplitudes: float) -> recipe.Recipe:
    """A recipe of the core profile with some of its inputs multiplied."""
    found = next(case for case in recipe.cases("attention", "core") if case.id == f"attention/core/{name}")
    inputs = {key: array * amplitudes.get(key, 1) for key, array in found.call.inputs.items()}
    return recipe.Recipe(found.id, found.call.changed(**inputs), found.catches)


def test_rounding_is_proportional_to_the_values() -> None:
    once = attention_truth.forward(_case("plain"))["output"].roundings
    scaled = attention_truth.forward(_case("plain", value=1024))["output"].roundings
    for before, after in zip(once, scaled, strict=True):
        assert after.arithmetic == pytest.approx(1024 * before.arithmetic, rel=0.01)
        assert after.storage == pytest.approx(1024 * before.storage, rel=0.01)


def test_rounding_grows_with_the_scores() -> None:
    once = attention_truth.forward(_case("plain"))["log_sum_exp"].roundings
    scaled = attention_truth.forward(_case("plain", query=64))["log_sum_exp"].roundings
    assert all(after.arithmetic > 8 * before.arithmetic for before, after in zip(once, scaled, strict=True))


def test_rounding_of_gradients_is_proportional_to_the_values() -> None:
    base, scaled = _case("plain"), _case("plain", value=256)
    results = [
        attention_truth.backward(one, attention_truth.forward(one)["output"].array).expected["query"]
        for one in (base, scaled)
    ]
    for before, after in zip(*(result.roundings for result in results), strict=True):
        assert after.arithmetic == pytest.approx(256 * before.arithmetic, rel=0.01)


def test_sizes_are_rounded_up_to_three_digits() -> None:
    assert [attention_truth.three_digits(size) for size in (0.0, 4.0, 1.2301, 99.91, 1e-310)] == [
        0.0,
        4.0,
        1.24,
        100.0,
        1e-310,
    ]
    with pytest.raises(ValueError, match="finite"):
        attention_truth.three_digits(math.inf)


EXACT = [f"near-ties-{end}" for end in ("at-10000", "at-minus-10000", "of-mixed-sign")]


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("is_split", [False, True])
def test_exact_scores_tell_a_split_scale(name: str, is_split: bool) -> None:
    """In float32 one multiplication by the scale is within the budget, and its root on either side far outside."""
    case = next(case for case in vectors.load("attention", "core")["cases"] if case["id"].endswith(f"/{name}"))
    query, key, value = (_array(case["inputs"][n]).astype(np.float32) for n in ("query", "key", "value"))
    scale = np.float32(1) / np.sqrt(np.float32(query.shape[-1]))
    outer, inner = (np.float32(1), np.sqrt(scale)) if is_split else (scale, np.float32(1))
    scores = ((query * inner) @ (key * inner).swapaxes(-1, -2)) * outer
    exponentials = np.exp(scores - scores.max(-1, keepdims=True))
    output = (exponentials / exponentials.sum(-1, keepdims=True)) @ value
    expected = case["expected"]["output"]
    rounding = np.array(expected["rounding"]["arithmetic"]).reshape(output.shape)
    shares = np.abs(output - _array(expected)) / (8 * 2.0**-24 * rounding)
    assert shares.max() > 20 if is_split else shares.max() < 1
