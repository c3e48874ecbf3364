"""The result of the oracle: exact values, and the expected rounding error of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray

LIFT = 2.0**300
"""The factor of numbers before they are squared: 1e-160 is a number of float64, its square is not."""

SMALLEST = 2.0**-790
"""The smallest size that differs from 0: the squares of smaller numbers may be 0 even when scaled."""


class Rounding(NamedTuple):
    """The fields of `attention_ref.spec.trace.Rounding`, each an array that broadcasts to the shape of the result.

    `arithmetic`, `storage` and `double` are expected sizes in units of the unit roundoff of the dtype that is computed
    in, of the tensors' dtype, and of float64. `underflow` and `storage_underflow` are sums of adjoints: how far the
    result moves when every operation loses one smallest number; `underflow` is an upper bound of it.
    """

    arithmetic: Array
    storage: Array
    underflow: Array
    storage_underflow: Array
    double: Array


class Result(NamedTuple):
    """The true values of one result, float64, and the size of the rounding errors of an implementation of it."""

    values: Array
    rounding: Rounding


class Truth(NamedTuple):
    """The results of attention for the selected heads and rows.

    `output` is `(b,h,q,v)`, `log_sum_exp` `(b,h,q)`, and `weights`, before dropout, `(b,h,q,k)` or None.
    """

    output: Result
    log_sum_exp: Result
    weights: Result | None


def of(values: Array, arithmetic: Array, storage: Array, underflow: Array, storage_underflow: Array) -> Result:
    """Return a result. `double` is `arithmetic` too, for the truth is itself computed, in float64, by the formula."""
    return Result(values, Rounding(arithmetic, storage, underflow, storage_underflow, arithmetic))


def empty(shape: tuple[int, ...]) -> Result:
    """Return a result to be filled."""
    return of(*(np.zeros(shape) for _ in range(5)))


def write(result: Result, index: tuple[Any, ...], fields: Sequence[Array]) -> None:
    """Write values, and the first four fields of their rounding, at an index of a result."""
    for array, field in zip((result.values, *result.rounding[:4]), fields, strict=True):
        array[index] = field


def lowered(values: Array, arithmetic: Array, storage: Array, underflow: Array, stored: Array) -> list[Array]:
    """Return values that were multiplied by `LIFT`, and the squares of their sizes, as they are."""
    size = np.sqrt(np.maximum(arithmetic, 0)) / LIFT
    if not np.all(np.isfinite(size)):
        raise ValueError("the size of a rounding error must be finite; the numbers are too large for their squares")
    size = np.maximum(size, SMALLEST * (underflow > 0))
    return [values / LIFT, size, np.sqrt(np.maximum(storage, 0)) / LIFT, underflow, stored]
