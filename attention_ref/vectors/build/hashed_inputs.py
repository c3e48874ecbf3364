"""How a recipe says what an array holds.

What is not written out comes from a hash of the case's id, the array's name and the position: 64-bit FNV-1a of the
text `id:name`, then the steps of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014). Integers only, so that it is the
same on every machine and short to write in any language. A real number is `(hash mod 513 - 256) * amplitude / 256`:
for the amplitude of 2 a multiple of 1/128 from -2 to 2, and exact in bfloat16 for any power of two.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from attention_ref.vectors.array_forms import NON_FINITE, NUMPY_DTYPES

_BITS = (1 << 64) - 1
AMPLITUDE = 2


def seeded(case_id: str, seed: int) -> str:
    """Return the text that is hashed for a case: its id for the seed 0, and with any other seed other numbers."""
    return f"{case_id}#{seed}" if seed else case_id


def hashed(case_id: str, name: str, count: int) -> Iterator[int]:
    """Return `count` integers of 64 bits."""
    seed = 0xCBF29CE484222325
    for byte in f"{case_id}:{name}".encode():
        seed = (seed ^ byte) * 0x100000001B3 & _BITS
    for position in range(1, count + 1):
        number = seed + position * 0x9E3779B97F4A7C15 & _BITS
        number = (number ^ number >> 30) * 0xBF58476D1CE4E5B9 & _BITS
        number = (number ^ number >> 27) * 0x94D049BB133111EB & _BITS
        yield number ^ number >> 31


def real_values(case_id: str, name: str, count: int, amplitude: float = AMPLITUDE) -> list[float]:
    """Return hashed multiples of `amplitude / 256` from `-amplitude` to `amplitude`."""
    return [(number % 513 - 256) * amplitude / 256 for number in hashed(case_id, name, count)]


def bool_values(case_id: str, name: str, count: int, percent: int) -> list[bool]:
    """Return hashed truth values, of which about `percent` in a hundred are True."""
    return [number % 100 < percent for number in hashed(case_id, name, count)]


def filled(case_id: str, name: str, shape: Sequence[int], kind: str, table: Mapping[str, Any]) -> np.ndarray:
    """Make an array as its table in the recipe says.

    Arguments:
        case_id, name: what the hash is of.
        shape: the sizes.
        kind: `"real"`, `"bool"` or `"integer"`.
        table: `values` (flat, row-major), `rows` (of a boolean array, `1` for True), `fill` (one value everywhere),
            `amplitude` (of hashed real numbers), `around` (a number that is added to them, cut to multiples of 1/128),
            `below` (a bound of hashed integers from 0 on) or `percent` (of True among hashed truth values); then `set`,
            values by index in NumPy's notation, such as `{ "0, :, 3:" = "NaN" }`, where axes left out are taken whole.
    """
    count = math.prod(shape)
    if "values" in table:
        values = [_number(value, kind) for value in table["values"]]
    elif "rows" in table:
        values = [digit == "1" for row in table["rows"] for digit in row]
    elif "fill" in table:
        values = [_number(table["fill"], kind)] * count
    elif kind == "bool":
        values = bool_values(case_id, name, count, table["percent"])
    elif kind == "integer":
        values = [number % table["below"] for number in hashed(case_id, name, count)]
    else:
        values = real_values(case_id, name, count, table.get("amplitude", AMPLITUDE))
        if "around" in table:
            values = [table["around"] + math.floor(value * 128) / 128 for value in values]
    for where, value in table.get("set", {}).items():
        for position in positions(where, shape):
            values[position] = _number(value, kind)
    return np.array(values, NUMPY_DTYPES[kind]).reshape(shape)


def _number(value: Any, kind: str) -> Any:
    """Read a value of a recipe, where NaN and infinities are strings."""
    if kind != "real":
        return value
    return NON_FINITE[value] if isinstance(value, str) else float(value)


def positions(where: str, shape: Sequence[int]) -> Iterator[int]:
    """Return the row-major positions of an index in NumPy's notation."""
    parts = [part.strip() for part in where.split(",")] if where else []
    parts += [":"] * (len(shape) - len(parts))
    chosen = [_along(part, size) for part, size in zip(parts, shape, strict=True)]
    for index in itertools.product(*chosen):
        flat = 0
        for position, size in zip(index, shape, strict=True):
            flat = flat * size + position
        yield flat


def _along(part: str, size: int) -> Sequence[int]:
    if ":" not in part:
        return [range(size)[int(part)]]
    return range(size)[slice(*(int(end) if end else None for end in part.split(":")))]
