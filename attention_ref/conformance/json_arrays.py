"""Numbers and arrays as JSON holds them: in requests, answers, reports and counterexamples as in the vectors.

Values are flat and row-major. JSON has no NaN and no infinities: they are the strings "NaN", "Infinity", "-Infinity".
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

DTYPES = {"real": np.float64, "bool": np.bool_, "integer": np.int64}
"""How arrays are kept here, by the kind that stands in the file."""

_KINDS = {"f": "real", "b": "bool", "i": "integer"}


def encoded(item: Any) -> Any:
    """Give what JSON can hold, of numbers, texts, lists, tuples and mappings."""
    if isinstance(item, Mapping):
        return {name: encoded(value) for name, value in item.items()}
    if isinstance(item, (list, tuple)):
        return [encoded(value) for value in item]
    if isinstance(item, float) and not math.isfinite(item):
        return "NaN" if math.isnan(item) else "Infinity" if item > 0 else "-Infinity"
    return item


def array(values: np.ndarray) -> dict[str, Any]:
    """Write an array: shape, kind and values."""
    return {"shape": list(values.shape), "dtype": _KINDS[values.dtype.kind], "values": encoded(values.ravel().tolist())}


def read_array(item: Mapping[str, Any]) -> np.ndarray:
    """Read an array, of real numbers where no kind is given. NumPy reads the strings of NaN and infinities."""
    return np.array(item["values"], DTYPES[item.get("dtype", "real")]).reshape(item["shape"])
