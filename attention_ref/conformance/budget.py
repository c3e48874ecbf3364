"""How far a result may lie from the truth: the size of the rounding errors that nobody can avoid, times `FACTOR`.

The specification's tape says for every number of every case how the roundings of the formula's operations add up
(`attention_ref.spec.trace`). The vectors carry that size in units of the roundoff, so that it holds for every dtype.
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
    """Errors and budgets of every number of a result; `share` is error over budget."""

    error: np.ndarray
    budget: np.ndarray
    share: np.ndarray


def budget(roundings: Roundings, dtype: str) -> np.ndarray:
    """Give the error that each number of a result may have.

        b = 8 sqrt((u_a arithmetic)^2 + (u_s storage)^2 + (u_d double)^2) + n_a underflow + m_s storage_underflow

    with `u_a` and `n_a` the unit roundoff and the smallest normal number of the dtype that is computed in, `u_s` and
    `m_s` the unit roundoff and the smallest subnormal number of the tensors' dtype, `u_d` the unit roundoff of float64,
    in which the angles of positions are computed whatever the dtype. Where the first two dtypes are one, storing a
    number rounds nothing and the terms of storage are left out.

    Arguments:
        roundings: the sizes that the vectors carry.
        dtype: of the inputs; float16 and bfloat16 are computed in float32.
    """
    storage = DTYPES[dtype]
    arithmetic = DTYPES[storage.arithmetic]
    size = arithmetic.unit_roundoff * roundings.arithmetic
    if np.any(roundings.double):
        size = np.hypot(size, DTYPES["float64"].unit_roundoff * roundings.double)
    underflown = arithmetic.smallest_normal * roundings.underflow
    if arithmetic is storage:
        return FACTOR * size + underflown
    size = np.hypot(size, storage.unit_roundoff * roundings.storage)
    return FACTOR * size + underflown + storage.smallest_subnormal * roundings.storage_underflow


def compare(got: np.ndarray, expected: np.ndarray, allowed: np.ndarray) -> Comparison:
    """Compare numbers with the truth.

    Infinities, and numbers whose budget is 0, must be equal. NaN must stand where NaN is expected and nowhere else.
    A share above 1 is a failure; it is infinite where an exact number is missed.
    """
    is_equal = (got == expected) | (np.isnan(got) & np.isnan(expected))
    is_comparable = np.isfinite(got) & np.isfinite(expected)
    error = np.where(is_equal, 0.0, np.inf)
    with np.errstate(over="ignore"):
        np.subtract(got, expected, out=error, where=is_comparable)
        error = np.abs(error)
        share = np.where(error > 0, np.inf, 0.0)
        np.divide(error, allowed, out=share, where=is_comparable & (allowed > 0))
    return Comparison(error, allowed, share)
