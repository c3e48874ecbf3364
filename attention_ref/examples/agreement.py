"""Compare what backends compute with the specification: no number may be further off than rounding can explain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from attention_ref.conformance.budget import Roundings, budget, compare
from attention_ref.spec import Array, Traced
from attention_ref.spec.trace import roundings


def specified(array: Any) -> Array:
    """Make an array of the specification of one of NumPy: numbers that remember how they were computed."""
    array = np.asarray(array)
    kind = {"f": "real", "i": "integer", "b": "bool"}[array.dtype.kind]
    values = array.ravel().tolist()
    return Array(array.shape, [Traced(value) for value in values] if kind == "real" else values, kind)


def agreement(results: Mapping[str, Any], expected: Array) -> None:
    """Print how far each result is from the specification, divided by its budget, the error that rounding can make.

    Arguments:
        results: name to array of any framework, all of one dtype.
        expected: what the specification computes of `specified` arrays.

    Raises:
        AssertionError: where a number is further off than that.
    """
    values = np.reshape([float(value) for value in expected.values], expected.shape)
    places = [i for i, value in enumerate(expected.values) if isinstance(value, Traced)]  # others are exact zeros
    sizes = np.zeros((values.size, len(Roundings._fields)))
    sizes[places] = roundings([expected.values[i] for i in places])
    fields = Roundings(*(column.reshape(values.shape) for column in sizes.T))
    for name, result in results.items():
        array = to_numpy(result)
        comparison = compare(array.astype(np.float64), values, budget(fields, array.dtype.name))
        error, ratio = comparison.error.max(), comparison.error_ratio.max()
        print(f"{name:6} {array.dtype.name} {array.shape}  largest error {error:.1e}, {ratio:.2f} of its budget")
        if not ratio <= 1:
            raise AssertionError(f"{name} differs from the specification by more than rounding can explain")


def to_numpy(array: Any) -> np.ndarray:
    """Read an array of any framework."""
    return np.asarray(array.detach() if hasattr(array, "detach") else array)
