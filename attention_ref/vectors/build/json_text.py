"""Vectors as JSON text: one line for each list of numbers, so that a change reads well in a diff."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from attention_ref.spec import Array
from attention_ref.spec.trace import Rounding

if TYPE_CHECKING:
    from attention_ref.vectors.build.attention_truth import Result  # it needs mpmath


def input_array(array: Array) -> dict[str, Any]:
    """Describe an array with its dtype."""
    return {"shape": list(array.shape), "dtype": array.dtype, "values": _values(array)}


def plain_array(array: Array) -> dict[str, Any]:
    """Describe an array of real numbers."""
    return {"shape": list(array.shape), "values": _values(array)}


def result(found: Result) -> dict[str, Any]:
    """Describe expected values with the sizes of their rounding errors; `double` where one is not 0."""
    columns = zip(*found.roundings, strict=True) if found.roundings else [()] * len(Rounding._fields)
    sizes = {name: list(column) for name, column in zip(Rounding._fields, columns, strict=True)}
    if not any(sizes["double"]):
        del sizes["double"]
    return {**plain_array(found.array), "rounding": sizes}


def write(document: Any) -> str:
    """Write JSON: what holds no objects inside stands on one line."""
    return _text(document, "") + "\n"


def _text(item: Any, indent: str) -> str:
    inner = indent + " "
    if isinstance(item, dict) and any(map(_is_deep, item.values())):
        lines = [f"{inner}{json.dumps(name)}: {_text(value, inner)}" for name, value in item.items()]
        return "{\n" + ",\n".join(lines) + f"\n{indent}}}"
    if isinstance(item, list) and any(isinstance(value, dict) for value in item):
        return "[\n" + ",\n".join(inner + _text(value, inner) for value in item) + f"\n{indent}]"
    return json.dumps(item, allow_nan=False, ensure_ascii=False, separators=(",", ":"))


def _is_deep(item: Any) -> bool:
    return isinstance(item, dict) or (isinstance(item, list) and any(isinstance(value, dict) for value in item))


def _values(array: Array) -> list[Any]:
    return [_special(value) if array.dtype == "real" else value for value in array.values]


def _special(value: float) -> float | str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return value
