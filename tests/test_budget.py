"""The budget of a result, compared with sizes that were derived by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from attention_ref.conformance.budget import FACTOR, Roundings, budget, compare
from attention_ref.spec.dtypes import DTYPES

ROUNDINGS = Roundings(*(np.array([size]) for size in (3.0, 4.0, 5.0, 6.0)))
DOUBLE = 2.0**30 * np.ones(1)


def test_the_factor_is_the_documented_one() -> None:
    assert FACTOR == 8


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        ("float64", 24 * 2.0**-53),
        ("float32", 24 * 2.0**-24 + 5 * 2.0**-126),
        ("float16", 8 * math.sqrt((3 * 2.0**-24) ** 2 + (4 * 2.0**-11) ** 2) + 5 * 2.0**-126 + 6 * 2.0**-24),
        ("bfloat16", 8 * math.sqrt((3 * 2.0**-24) ** 2 + (4 * 2.0**-8) ** 2) + 5 * 2.0**-126 + 6 * 2.0**-133),
    ],
)
def test_a_budget_is_the_one_worked_out_by_hand(dtype: str, expected: float) -> None:
    assert budget(ROUNDINGS, dtype) == pytest.approx([expected], rel=1e-15, abs=0)


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        ("float64", 8 * math.sqrt(9 + 4.0**30) * 2.0**-53),
        ("float32", 8 * math.sqrt((3 * 2.0**-24) ** 2 + 4.0**-23) + 5 * 2.0**-126),
        ("float16", 8 * math.sqrt((3 * 2.0**-24) ** 2 + 4.0**-23 + (4 * 2.0**-11) ** 2) + 6 * 2.0**-24),
    ],
)
def test_what_is_computed_in_float64_counts_in_every_dtype(dtype: str, expected: float) -> None:
    assert budget(ROUNDINGS._replace(double=DOUBLE), dtype) == pytest.approx([expected], rel=1e-15, abs=0)


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        ("float64", 5 * 2.0**-1022),
        ("float32", 5 * 2.0**-126),
        ("float16", 5 * 2.0**-126 + 6 * 2.0**-24),
        ("bfloat16", 5 * 2.0**-126 + 6 * 2.0**-133),
    ],
)
def test_numbers_that_vanish_have_the_budget_of_underflow(dtype: str, expected: float) -> None:
    assert budget(ROUNDINGS._replace(arithmetic=np.zeros(1), storage=np.zeros(1)), dtype) == [expected]


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_exact_has_no_budget(dtype: str) -> None:
    assert budget(Roundings(*np.zeros((5, 1))), dtype) == [0.0]


def facts(dtype: str) -> tuple[float, ...]:
    found = DTYPES[dtype]
    return found.unit_roundoff, found.smallest_normal, found.smallest_subnormal, found.largest


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
def test_a_format_is_numpys(dtype: str) -> None:
    limits = np.finfo(dtype)
    assert facts(dtype) == (limits.eps / 2, limits.smallest_normal, limits.smallest_subnormal, limits.max)


def test_bfloat16_is_the_format_of_ml_dtypes() -> None:
    limits = pytest.importorskip("ml_dtypes").finfo("bfloat16")
    numbers = (limits.eps, limits.smallest_normal, limits.smallest_subnormal, limits.max)
    assert facts("bfloat16") == (float(numbers[0]) / 2, *map(float, numbers[1:]))


@pytest.mark.parametrize(
    ("got", "expected", "allowed", "error_ratio"),
    [
        (1.5, 1.0, 1.0, 0.5),
        (-1.0, 1.0, 1.0, 2.0),
        (0.0, 0.0, 0.0, 0.0),
        (-0.0, 0.0, 0.0, 0.0),
        (5e-324, 0.0, 0.0, math.inf),
        (math.nan, 1.0, 1e300, math.inf),
        (math.nan, math.nan, 0.0, 0.0),
        (0.0, math.nan, 1e300, math.inf),
        (math.inf, math.nan, 0.0, math.inf),
        (math.inf, math.inf, 0.0, 0.0),
        (-math.inf, math.inf, 1e300, math.inf),
        (1e308, math.inf, 1e300, math.inf),
        (math.inf, 1e308, 1e308, math.inf),
        (1e308, -1e308, 1.0, math.inf),
    ],
)
def test_two_numbers_are_compared(got: float, expected: float, allowed: float, error_ratio: float) -> None:
    assert compare(np.array([got]), np.array([expected]), np.array([allowed])).error_ratio == [error_ratio]


def test_nothing_compares_to_nothing() -> None:
    assert compare(np.zeros((2, 0)), np.zeros((2, 0)), np.zeros((2, 0))).error_ratio.shape == (2, 0)
