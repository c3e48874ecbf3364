"""Framework of every kind come and go without losing anything."""

from __future__ import annotations

import math

import numpy as np
import pytest

from attention_ref import backends, vectors
from attention_ref.conformance import KINDS, Unsupported, cases
from attention_ref.conformance.frameworks import framework
from attention_ref.conformance.frameworks.interface import Framework
from attention_ref.spec.dtypes import DTYPES

LARGEST = {"float64": 2.0**1023, "float32": 2.0**127, "float16": 2.0**15, "bfloat16": 2.0**127}


@pytest.fixture(
    scope="module",
    params=[pytest.param(kind, marks=[pytest.mark.engine] if kind == "keras" else []) for kind in KINDS],
)
def arrays(request: pytest.FixtureRequest) -> Framework:
    pytest.importorskip(request.param)
    pytest.importorskip("ml_dtypes")
    return framework(request.param)


def restored(arrays: Framework, values: np.ndarray, dtype: str) -> np.ndarray:
    array = arrays.make(values, dtype)
    assert arrays.is_array(array)
    assert arrays.dtype(array) == dtype
    assert tuple(array.shape) == values.shape
    return arrays.read(array)


@pytest.mark.parametrize("dtype", DTYPES)
def test_numbers_of_every_size_survive(arrays: Framework, dtype: str) -> None:
    facts = DTYPES[dtype]
    unit, normal, subnormal = facts.unit_roundoff, facts.smallest_normal, facts.smallest_subnormal
    numbers = [0.0, -0.0, 1 + 2 * unit, -1.5, normal, subnormal, -3 * subnormal, LARGEST[dtype]]
    values = np.array([*numbers, math.inf, -math.inf, math.nan])
    found = restored(arrays, values, dtype)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, values)
    np.testing.assert_array_equal(np.signbit(found[:-1]), np.signbit(values[:-1]))


@pytest.mark.parametrize(("dtype", "values"), [("bool", [[True], [False]]), ("int64", [[3], [-(2**40)]])])
def test_what_is_no_real_number_survives(arrays: Framework, dtype: str, values: list[list[int]]) -> None:
    expected = np.array(values, dtype)
    found = restored(arrays, expected, dtype)
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("shape", [(), (0,), (2, 0, 3)])
def test_shapes_without_numbers_survive(arrays: Framework, shape: tuple[int, ...]) -> None:
    assert restored(arrays, np.zeros(shape), "float32").shape == shape


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_inputs_of_every_case_survive_in_every_dtype_it_claims(arrays: Framework, dtype: str) -> None:
    chosen = [case for name in vectors.profiles("attention") for case in cases("attention", name)]
    inputs = [case.call.inputs.values() for case in chosen if dtype in case.dtypes]
    values = np.concatenate([array.ravel() for arrays in inputs for array in arrays if array.dtype.kind == "f"])
    np.testing.assert_array_equal(restored(arrays, values, dtype), values)


@pytest.mark.parametrize("dtype", DTYPES)
def test_arrays_are_joined_and_selected(arrays: Framework, dtype: str) -> None:
    first, second = (arrays.make(np.array(values), dtype) for values in ([[1.0, 2.0]], [[3.0, math.nan], [5.0, 6.0]]))
    joined = arrays.concatenate([first, second], 0)
    assert arrays.dtype(joined) == dtype
    np.testing.assert_array_equal(arrays.read(joined), [[1, 2], [3, math.nan], [5, 6]])
    np.testing.assert_array_equal(arrays.read(arrays.take(joined, [2, 0, 2], 0)), [[5, 6], [1, 2], [5, 6]])
    assert tuple(arrays.take(joined, [], 0).shape) == (0, 2)


def test_what_is_made_is_new(arrays: Framework) -> None:
    values = np.ones(3, np.float32)
    array = arrays.make(values, "float32")
    values[:] = 2
    assert arrays.read(array).tolist() == [1, 1, 1]


@pytest.mark.parametrize("item", [[1.0], 1.0, None, np.matrix])
def test_other_things_are_no_arrays(arrays: Framework, item: object) -> None:
    assert not arrays.is_array(item)


def test_jax_without_64_bits_has_no_float64() -> None:
    jax = pytest.importorskip("jax")
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", False)
    try:
        with pytest.raises(Unsupported, match="JAX_ENABLE_X64=1"):
            framework("jax").make(np.ones(1), "float64")
        assert framework("jax").dtype(framework("jax").make(np.ones(1, np.int64), "int64")) == "int32"
    finally:
        jax.config.update("jax_enable_x64", before)


def test_the_command_line_offers_every_dtype() -> None:
    assert tuple(DTYPES) == backends.DTYPES
