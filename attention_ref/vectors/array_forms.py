"""The three forms of an array: NumPy's, the specification's, and JSON's.

In JSON values are flat and row-major. It has no NaN and no infinities: they are the strings "NaN", "Infinity" and
"-Infinity".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from attention_ref.spec import Array

NUMPY_DTYPES: Mapping[str, type] = {"real": np.float64, "bool": np.bool_, "integer": np.int64}
"""NumPy's dtype for each kind of array; kinds are named as in `attention_ref.spec.Array.dtype`."""

NON_FINITE: Mapping[str, float] = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
"""The numbers that JSON does not have, by what is written for them."""


def kind_of(array: np.ndarray) -> str:
    """Return the kind of an array of NumPy, whatever the width of its numbers."""
    return {"b": "bool", "i": "integer", "u": "integer"}.get(array.dtype.kind, "real")


def widened(array: np.ndarray) -> np.ndarray:
    """Return an array with numbers of 64 bits, as calls hold them."""
    return array.astype(NUMPY_DTYPES[kind_of(array)])


def to_spec(value: Any, make: Callable[[float], Any] | None = None) -> Any:
    """Make an array of the specification of NumPy's; what is no array stays as it is.

    Arguments:
        value: an array or anything else.
        make: makes the specification's numbers of real ones; they stay floats when None.
    """
    if not isinstance(value, np.ndarray):
        return value
    kind = kind_of(value)
    numbers: list[Any] = widened(value).ravel().tolist()
    return Array(value.shape, list(map(make, numbers)) if make is not None and kind == "real" else numbers, kind)


def from_spec(array: Array) -> np.ndarray:
    """Make an array of NumPy of the specification's; numbers of any type become float64."""
    values = list(map(float, array.values)) if array.dtype == "real" else array.values
    return np.array(values, NUMPY_DTYPES[array.dtype]).reshape(array.shape)


def to_json(array: np.ndarray, *, with_kind: bool = True) -> dict[str, Any]:
    """Write an array as what JSON can hold: its shape, its kind under `dtype`, and its values."""
    kind = {"dtype": kind_of(array)} if with_kind else {}
    return {"shape": list(array.shape), **kind, "values": encoded(array.ravel().tolist())}


def from_json(item: Mapping[str, Any]) -> np.ndarray:
    """Read an array, of real numbers where no kind is given. NumPy reads the strings of NaN and infinities."""
    return np.array(item["values"], NUMPY_DTYPES[item.get("dtype", "real")]).reshape(item["shape"])


def encoded(item: Any) -> Any:
    """Return numbers, texts, lists, tuples and mappings of these as JSON can hold them."""
    if isinstance(item, Mapping):
        return {name: encoded(value) for name, value in item.items()}
    if isinstance(item, (list, tuple)):
        return [encoded(value) for value in item]
    if isinstance(item, float) and not math.isfinite(item):
        return "NaN" if math.isnan(item) else "Infinity" if item > 0 else "-Infinity"
    return item
