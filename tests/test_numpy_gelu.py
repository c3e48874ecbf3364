"""NumPy's exact GELU against mpmath: over all of its range, at the edges of its tables and between their points."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest

from attention_ref.numpy import gelu

UNITS = {"float64": 2.0**-53, "float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}
ROUNDINGS = 4
"""`Phi` may be off by so many units of 1; the specification's budget counts 4 for erf alone, times 8."""

RANDOM = np.random.default_rng(5)
NUMBERS = np.concatenate(
    [
        RANDOM.uniform(-10, 10, 40_000),  # more than one chunk
        RANDOM.standard_normal(2000) * 2.0 ** RANDOM.integers(-40, 0, 2000),
        np.arange(-17, 18) / 2,
        (np.arange(-4400, 4400) + 0.5) / 512,  # halfway between two points of the tables
        [0.0, 1e-300, -1e-300, 8.499999, 8.500001, -8.499999, -8.500001, 1e30, -1e30],
    ]
)


@pytest.mark.parametrize("dtype", UNITS)
def test_gelu_is_that_of_the_formula(dtype: str) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    kind = np.dtype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    with np.errstate(over="ignore"):
        x = NUMBERS.astype(kind)
    x = x[np.isfinite(x.astype(np.float64))]
    found = gelu(x)
    assert found.dtype == kind
    exact = np.array([float(number * mpmath.ncdf(number)) for number in map(mpmath.mpf, x.astype(float).tolist())])
    allowed = ROUNDINGS * UNITS["float64" if dtype == "float64" else "float32"] * np.abs(x.astype(float))
    if dtype in ("float16", "bfloat16"):
        allowed += UNITS[dtype] * np.abs(exact) + 2.0**-25  # stored once, perhaps as a subnormal
    assert (np.abs(found.astype(float) - exact) <= allowed).all()


def test_gelu_of_what_is_not_finite_and_of_other_shapes() -> None:
    np.testing.assert_array_equal(gelu(np.array([np.inf, -np.inf, np.nan])), [np.inf, np.nan, np.nan])
    x = RANDOM.standard_normal((3, 4, 5)).astype(np.float32).swapaxes(0, 2)
    np.testing.assert_array_equal(gelu(x), gelu(np.ascontiguousarray(x)))
    assert gelu(np.zeros((0, 3))).shape == (0, 3)
    assert gelu(np.array(1.0)).shape == ()
