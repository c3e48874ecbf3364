"""The error budget of a result: the expected size of unavoidable rounding errors, times `FACTOR`.

The specification records how the rounding of every operation propagates to every element of a result
(`attention_ref.spec.trace`). The vectors store these sizes in units of the roundoff, so that they apply to every dtype.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from attention_ref.spec.dtypes import DTYPES
from attention_ref.spec.trace import FACTOR


class Roundings(NamedTuple):
    """The fields of `spec.trace.Rounding`, each an array with the shape of the result."""

    arithmetic: np.ndarray
    storage: np.ndarray
    underflow: np.ndarray
    storage_underflow: np.ndarray
    double: np.ndarray | float = 0.0


class Comparison(NamedTuple):
    """Errors and budgets of every element of a result; `error_ratio` is error / budget."""

    error: np.ndarray
    budget: np.ndarray
    error_ratio: np.ndarray


def budget(roundings: Roundings, dtype: str, arithmetic_dtype: str | None = None) -> np.ndarray:
    """Return the largest error allowed in each element of a result.

        b = 8 sqrt((u_a arithmetic)^2 + (u_s storage)^2 + (u_d double)^2) + n_a underflow + m_s storage_underflow

    with `u_a` and `n_a` the unit roundoff and the smallest normal number of the dtype of the arithmetic, `u_s` and
    `m_s` the unit roundoff and the smallest subnormal number of the tensors' dtype, `u_d` the unit roundoff of float64,
    in which the angles of positional codes are always computed. If arithmetic and storage have the same dtype, storing
    rounds nothing and its terms are left out.

    Arguments:
        roundings: the sizes of rounding errors from the vectors.
        dtype: dtype of the inputs; the arithmetic of float16 and bfloat16 is float32.
        arithmetic_dtype: that of the arithmetic, if it is another than the specification's.
    """
    storage = DTYPES[dtype]
    arithmetic = DTYPES[arithmetic_dtype or storage.arithmetic]
    size = arithmetic.unit_roundoff * roundings.arithmetic
    if np.any(roundings.double):
        size = np.hypot(size, DTYPES["float64"].unit_roundoff * roundings.double)
    underflown = arithmetic.smallest_normal * roundings.underflow
    if arithmetic is storage:
        return FACTOR * size + underflown
    size = np.hypot(size, storage.unit_roundoff * roundings.storage)
    return FACTOR * size + underflown + storage.smallest_subnormal * roundings.storage_underflow


def compare(got: np.ndarray, expected: np.ndarray, allowed: np.ndarray) -> Comparison:
    """Compare results with expected values.

    Infinities, and elements whose budget is 0, must be equal. NaN must occur exactly where NaN is expected.
    An error / budget above 1 is a failure; it is infinite where an exact element differs.
    """
    is_equal = (got == expected) | (np.isnan(got) & np.isnan(expected))
    is_comparable = np.isfinite(got) & np.isfinite(expected)
    error = np.where(is_equal, 0.0, np.inf)
    with np.errstate(over="ignore"):
        np.subtract(got, expected, out=error, where=is_comparable)
        error = np.abs(error)
        error_ratio = np.where(error > 0, np.inf, 0.0)
        np.divide(error, allowed, out=error_ratio, where=is_comparable & (allowed > 0))
    return Comparison(error, allowed, error_ratio)
