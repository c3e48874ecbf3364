"""The three forms of an array: NumPy's, the specification's, and JSON's.

In JSON, values are flat and row-major. JSON lacks NaN and infinities, so they are the strings "NaN", "Infinity" and
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
"""The numbers that JSON lacks, by the strings that represent them."""


def kind_of(array: np.ndarray) -> str:
    """Return the kind of a NumPy array, regardless of bit width."""
    return {"b": "bool", "i": "integer", "u": "integer"}.get(array.dtype.kind, "real")


def widened(array: np.ndarray) -> np.ndarray:
    """Return an array with 64-bit numbers, as in a `Call`."""
    return array.astype(NUMPY_DTYPES[kind_of(array)])


def to_spec(value: Any, make: Callable[[float], Any] | None = None) -> Any:
    """Convert a NumPy array to an array of the specification; return anything else unchanged.

    Arguments:
        value: a NumPy array or anything else.
        make: converts real numbers to the specification's number type; floats if None.
    """
    if not isinstance(value, np.ndarray):
        return value
    kind = kind_of(value)
    numbers: list[Any] = widened(value).ravel().tolist()
    return Array(value.shape, list(map(make, numbers)) if make is not None and kind == "real" else numbers, kind)


def from_spec(array: Array) -> np.ndarray:
    """Convert an array of the specification to NumPy; real numbers of any type become float64."""
    values = list(map(float, array.values)) if array.dtype == "real" else array.values
    return np.array(values, NUMPY_DTYPES[array.dtype]).reshape(array.shape)


def to_json(array: np.ndarray, *, with_kind: bool = True) -> dict[str, Any]:
    """Return an array as data for JSON: its shape, its kind under `dtype`, and its values."""
    kind = {"dtype": kind_of(array)} if with_kind else {}
    return {"shape": list(array.shape), **kind, "values": encoded(array.ravel().tolist())}


def from_json(item: Mapping[str, Any]) -> np.ndarray:
    """Read an array, of real numbers if no kind is given. NumPy parses the strings of NaN and infinities."""
    return np.array(item["values"], NUMPY_DTYPES[item.get("dtype", "real")]).reshape(item["shape"])


def encoded(item: Any) -> Any:
    """Return nested numbers, strings, lists, tuples and mappings as data for JSON."""
    if isinstance(item, Mapping):
        return {name: encoded(value) for name, value in item.items()}
    if isinstance(item, (list, tuple)):
        return [encoded(value) for value in item]
    if isinstance(item, float) and not math.isfinite(item):
        return "NaN" if math.isnan(item) else "Infinity" if item > 0 else "-Infinity"
    return item
