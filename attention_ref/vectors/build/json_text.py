"""Format vectors as JSON with one line for each list of numbers, for readable diffs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from attention_ref.spec.trace import Rounding
from attention_ref.vectors.array_forms import to_json

if TYPE_CHECKING:
    from attention_ref.vectors.build.attention_truth import Result  # the module needs mpmath


def result(found: Result) -> dict[str, Any]:
    """Return expected values with the sizes of their rounding errors, as data; `double` only if not all 0."""
    columns = zip(*found.roundings, strict=True) if found.roundings else [()] * len(Rounding._fields)
    sizes = {name: list(map(_shortest, column)) for name, column in zip(Rounding._fields, columns, strict=True)}
    if not any(sizes["double"]):
        del sizes["double"]
    return {**to_json(found.array, with_kind=False), "rounding": sizes}


def write(document: Any) -> str:
    """Return JSON text: anything without nested objects on one line."""
    return _text(document, "") + "\n"


def _text(item: Any, indent: str) -> str:
    inner = indent + " "
    if isinstance(item, dict) and any(map(_is_deep, item.values())):
        lines = [f"{inner}{json.dumps(name)}: {_text(value, inner)}" for name, value in item.items()]
        return "{\n" + ",\n".join(lines) + f"\n{indent}}}"
    if isinstance(item, list) and any(isinstance(value, dict) for value in item):
        return "[\n" + ",\n".join(inner + _text(value, inner) for value in item) + f"\n{indent}]"
    return json.dumps(item, allow_nan=False, ensure_ascii=False, separators=(",", ":"))


def _shortest(size: float) -> float | int:
    """Return a size as an integer if it is one, which saves its `.0`."""
    return int(size) if size.is_integer() and size < 1e9 else size


def _is_deep(item: Any) -> bool:
    return isinstance(item, dict) or (isinstance(item, list) and any(isinstance(value, dict) for value in item))
