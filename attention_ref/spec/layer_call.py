"""One call of a layer: what was given, and the checks that layers share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NoReturn

from attention_ref.spec.checks import converted
from attention_ref.spec.errors import reject, shape_text
from attention_ref.spec.shapes import ANY, LARGEST_POSITION, REAL_DTYPES, Described, Shape, check_flags, check_tap

Given = Mapping[str, Any]
Inspect = Callable[[Any], tuple[Described, Sequence[int] | None]]

_FLAGS = ("return_weights", "return_cache")


class LayerCall:
    """What one call was given, and the checks that layers share."""

    def __init__(self, operation: str, given: Given, inspect: Inspect) -> None:
        self.operation, self.inspect = operation, inspect
        self._read: dict[str, tuple[Described, Sequence[int] | None]] = {}
        check_flags(operation, **{name: given[name] for name in _FLAGS if name in given})
        check_tap(operation, given.get("tap"))
        self.given = {name: item for name, item in given.items() if item is not None and name not in (*_FLAGS, "tap")}

    def has(self, name: str) -> bool:
        """Return whether an argument is given."""
        return name in self.given

    def missing(self, names: Iterable[str]) -> list[str]:
        """Return the names of those that are not given."""
        return [name for name in names if name not in self.given]

    def read(self, name: str) -> tuple[Described, Sequence[int] | None]:
        """Describe an array and, of integers, read the values, once in a call."""
        if name not in self._read:
            self._read[name] = converted(self.operation, name, self.given[name], self.inspect)
        return self._read[name]

    def shape(self, name: str) -> Shape:
        """Return the shape of an array."""
        return self.read(name)[0].shape

    def dtype(self, name: str) -> str:
        """Return the name of the dtype of an array."""
        return self.read(name)[0].dtype

    def is_integer(self, name: str) -> bool:
        """Return whether an argument is given and has integers."""
        return self.has(name) and self.dtype(name).startswith(("int", "uint", ANY))

    def check_real(self, first: str, *others: str) -> None:
        """Check that an array is given and that it and others, where given, are real numbers of one dtype."""
        if not self.has(first):
            self.reject(f"{first} must be given", None)
        for name in filter(self.has, (first, *others)):
            dtype, expected = self.dtype(name), self.dtype(first)
            if dtype not in (*REAL_DTYPES, ANY):
                self.reject(f"{name} must be float16, bfloat16, float32 or float64", dtype)
            if dtype != expected and ANY not in (dtype, expected):
                self.reject(f"{first} and {name} must have the same dtype", f"{expected} and {dtype}")

    def reject(self, rule: str, received: object) -> NoReturn:
        """Raise `SpecificationError` with the shapes of all arrays."""
        arrays = {name: item for name, item in self.given.items() if not hasattr(item, "_fields")}
        shapes = {name: self.shape(name) for name in arrays}
        reject(self.operation, rule, received, {name: shape for name, shape in shapes.items() if shape})

    def check_alone(self, name: str, *others: str, because: str) -> None:
        """Check that an argument is given without certain others."""
        for other in others:
            if self.has(name) and self.has(other):
                self.reject(f"{name} and {other} exclude each other: {because}", "both")

    def check_rank(self, name: str, rank: int) -> Shape:
        """Check how many axes an array has; return its shape."""
        shape = self.shape(name)
        if len(shape) != rank:
            self.reject(f"{name} must have {rank} axes", shape_text(shape))
        return shape

    def check_sequence(self, name: str, size: int, batch: int | None = None) -> tuple[int | None, int | None]:
        """Check `(b,l,size)`; return b and l."""
        shape = self.check_rank(name, 3)
        expected = (shape[0] if batch is None else batch, shape[1], size)
        self.check_shape(name, expected, f"{name} must have the size and batch of the layer's call")
        return shape[0], shape[1]

    def check_shape(self, name: str, expected: Shape, rule: str) -> None:
        """Check the shape of an array."""
        shape = self.shape(name)
        if not agree(shape, expected):
            self.reject(f"{rule}, here {shape_text(expected)}", f"{name} {shape_text(shape)}")

    def check_lengths(self, name: str, batch: int | None, length: int | None) -> None:
        """Check lengths `(b,)`, from 0 to `length`."""
        self.check_integers(name, (batch,), least=0, most=length)

    def check_positions(self, name: str, batch: int | None, length: int | None) -> None:
        """Check positions `(l,)` or `(b,l)`."""
        self.check_integers(name, (length,), (batch, length), least=-LARGEST_POSITION, most=LARGEST_POSITION)

    def check_integers(self, name: str, *shapes: Shape, least: int | None = None, most: int | None = None) -> None:
        """Check integers of one of some shapes and, where they can be read, from `least` to `most`."""
        if not self.has(name):
            return
        described, values = self.read(name)
        if not self.is_integer(name):
            self.reject(f"{name} must be integers", described.dtype)
        if not any(agree(described.shape, shape) for shape in shapes):
            expected = " or ".join(map(shape_text, shapes))
            self.reject(f"{name} must have the shape {expected}", shape_text(described.shape))
        for value in values or ():
            if (least is not None and value < least) or (most is not None and value > most):
                limits = f"lie between {least} and {most}" if most is not None else f"be at least {least}"
                self.reject(f"{name} must {limits}", value)


def agree(shape: Shape, expected: Shape) -> bool:
    """Say whether a shape is what is expected; a size that is not known agrees with any."""
    return len(shape) == len(expected) and all(
        None in pair or pair[0] == pair[1] for pair in zip(shape, expected, strict=True)
    )
