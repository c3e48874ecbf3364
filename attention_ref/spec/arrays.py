"""Arrays of the specification: a shape and values, without arithmetic."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from attention_ref.spec.shapes import ANY, Described

Index = tuple[int, ...]


class Array:
    """Values in row-major order with a shape, which nested lists cannot represent if a size is 0.

    Arguments:
        shape: the sizes, any of which may be 0.
        values: as many values as the shape has elements, row-major.
        dtype: `"real"` for numbers of any type, `"bool"`, or `"integer"`; inferred from the values when None.
    """

    __slots__ = ("dtype", "shape", "values")

    def __init__(self, shape: Sequence[int], values: Sequence[Any], dtype: str | None = None) -> None:
        self.shape = tuple(shape)
        self.values = list(values)
        if math.prod(self.shape) != len(self.values):
            raise ValueError(f"an array of shape {self.shape} cannot hold {len(self.values)} values")
        self.dtype = dtype if dtype is not None else _dtype_of(self.values)

    def __getitem__(self, index: Index) -> Any:
        """Return the value at a full index, or the row of values at an index without the last axis."""
        flat = 0
        for position, size in zip(index, self.shape, strict=False):
            flat = flat * size + position
        if len(index) == len(self.shape):
            return self.values[flat]
        size = self.shape[-1]
        return self.values[flat * size : (flat + 1) * size]

    def nested(self) -> Any:
        """Return the values as nested lists."""
        values = self.values
        for size in reversed(self.shape):
            count = len(values) // size if size else math.prod(self.shape[: self.shape.index(0)])
            values = [values[i * size : (i + 1) * size] for i in range(count)]
        return values[0]

    def map(self, function: Callable[[Any], Any]) -> Array:
        """Apply a function to every value."""
        return Array(self.shape, [function(value) for value in self.values], self.dtype)


def _dtype_of(values: Sequence[Any]) -> str:
    if values and all(isinstance(value, bool) for value in values):
        return "bool"
    if values and all(isinstance(value, int) for value in values):
        return "integer"
    return "real"


def as_array(values: Any) -> Array:
    """Convert nested lists, tuples or ranges, or one value, to an array; return an array unchanged."""
    if isinstance(values, Array):
        return values
    shape: list[int] = []
    level = [values]
    while level and all(isinstance(item, (list, tuple, range)) for item in level):
        sizes = {len(item) for item in level}
        if len(sizes) != 1:
            raise ValueError(f"nested lists must be rectangular; received lengths {sorted(sizes)} side by side")
        shape.append(sizes.pop())
        level = [inner for item in level for inner in item]
    return Array(shape, level)


def inspect(given: Any) -> tuple[Described, Sequence[int] | None]:
    """Return the shape and dtype of an array and, if it has integers, its values, for the checks of layers."""
    array = as_array(given)
    if not array.values:
        return Described(array.shape, ANY), []
    is_integer = array.dtype == "integer"
    return Described(array.shape, "int64" if is_integer else array.dtype), array.values if is_integer else None


def indices(shape: Sequence[int]) -> Iterator[Index]:
    """Iterate over every index of a shape in row-major order."""
    return itertools.product(*(range(size) for size in shape))


def broadcast_index(index: Index, shape: Sequence[int]) -> Index:
    """Return the index into an array of `shape` that a broadcast index reads: right-aligned, 0 along axes of size 1."""
    aligned = index[len(index) - len(shape) :]
    return tuple(0 if size == 1 else position for position, size in zip(aligned, shape, strict=True))
