"""Shapes, dtypes and sizes as every check describes them, and the checks that need no table of operations.

Sizes are called by the same letter everywhere:

    b batch   h query heads   g key/value heads   q query length   k key length
    d query/key head size     v value head size   m model size     f feed-forward size   n vocabulary
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any, NamedTuple

from attention_ref.spec.dtypes import DTYPES
from attention_ref.spec.errors import received_text, reject

Shape = tuple[int | None, ...]

LEGEND: Mapping[str, str] = {
    "b": "batch",
    "h": "query heads",
    "g": "key/value heads",
    "q": "query length",
    "k": "key length",
    "d": "query/key head size",
    "v": "value head size",
    "m": "model size",
    "f": "feed-forward size",
    "n": "vocabulary",
    "a": "tanh layer size",
    "c": "memory size",
    "e": "key head size, where it is not d",
    "t": "target length",
    "u": "buckets of distance",
}

REAL_DTYPES = (*DTYPES, "real")
"""Dtypes of tensors that take part in arithmetic; `real` is any number type of the specification itself."""

ANY = "any"
"""The dtype of an array of the specification without values."""

IMPLEMENTATIONS = ("auto", "fused", "reference")
"""The paths of a backend's attention: the fused one where the options allow, the fused one, the formula as written."""

SMALLEST_INTEGER, LARGEST_INTEGER = -(2**63), 2**63 - 1
"""The range of offsets, lengths and distances: the integers of int64."""

LARGEST_POSITION = 2**30
"""The largest absolute value of a position from which an angle or a distance is computed: the distance of a query and a
key is then an integer of 32 bits, which every backend has."""


class Described(NamedTuple):
    """The shape and the dtype's name of an array; a size that is not known yet is None."""

    shape: Shape
    dtype: str


class Sizes(NamedTuple):
    """The sizes of one call of attention: integers, or None where a size is not known before the call runs."""

    batch: tuple[Any, ...]
    heads: Any
    groups: Any
    query_length: Any
    key_length: Any
    head_size: Any
    value_size: Any

    @property
    def scores(self) -> tuple[Any, ...]:
        """The shape `(b,h,q,k)` of the scores."""
        return (*self.batch, self.heads, self.query_length, self.key_length)

    def shape(self, letters: str) -> tuple[Any, ...]:
        """Return the shape of an array whose axes have these letters; the sizes of `b` are those of all batch axes."""
        by_letter = {"b": self.batch, **{letter: (size,) for letter, size in zip("hgqkdv", self[1:], strict=True)}}
        return tuple(size for letter in letters for size in by_letter[letter])


def check_integers(operation: str, name: str, given: Any) -> None:
    """Check that integers lie within int64, as the caller gave them.

    A backend calls this before it makes an array of them, where they might wrap around or raise an error of its own.

    Arguments:
        operation: the name to report.
        name: of the argument.
        given: an integer, or integers in lists and tuples of any depth. Anything else passes, for the dtype of an array
            is checked with the other arrays; the values of one of uint64 are to be given as a list.

    Raises:
        SpecificationError: for an integer outside -2^63 to 2^63 - 1.
    """
    if isinstance(given, int):
        if not SMALLEST_INTEGER <= given <= LARGEST_INTEGER:
            reject(operation, f"{name} must lie between -2^63 and 2^63 - 1", received_text(given))
    elif isinstance(given, (list, tuple)):
        for inner in given:
            check_integers(operation, name, inner)


def check_window(operation: str, window: Any, shapes: Mapping[str, Shape] | None = None) -> None:
    """Check a window: a pair of distances from 0 to 2^63 - 1, None where open; `shapes` of the call are reported."""
    if window is None:
        return
    is_pair = isinstance(window, (tuple, list)) and len(window) == 2
    if not is_pair or not all(side is None or (is_integer(side) and side >= 0) for side in window):
        rule = "window must be a pair (left, right) of distances of at least 0, None where open"
        reject(operation, rule, repr(window), shapes)
    if not all(side is None or side <= LARGEST_INTEGER for side in window):
        reject(operation, "the distances of window must lie between 0 and 2^63 - 1", repr(window), shapes)


def check_flags(operation: str, **flags: Any) -> None:
    """Check options that are True or False."""
    for name, flag in flags.items():
        if not isinstance(flag, bool):
            reject(operation, f"{name} must be True or False", repr(flag))


def check_tap(operation: str, tap: Any) -> None:
    """Check that what receives intermediates, if anything, can be called."""
    if tap is not None and not callable(tap):
        reject(operation, "tap must be a function of a name and an array, or None", type(tap).__name__)


def check_implementation(operation: str, implementation: Any) -> None:
    """Check the choice between the paths of a backend's attention."""
    if not isinstance(implementation, str) or implementation not in IMPLEMENTATIONS:
        reject(operation, "implementation must be 'auto', 'fused' or 'reference'", repr(implementation))


def broadcasts(shape: Shape, target: Shape) -> bool:
    """Return whether an array broadcasts to a shape; a size that is not known agrees with any."""
    aligned = target[len(target) - len(shape) :]
    return len(shape) <= len(target) and all(
        size == 1 or not differ(size, to) for size, to in zip(shape, aligned, strict=True)
    )


def differ(left: int | None, right: int | None) -> bool:
    """Return whether two sizes differ; one that is not known differs from none."""
    return left is not None and right is not None and left != right


def any_differ(left: Shape, right: Shape) -> bool:
    """Return whether two shapes of the same rank differ in a size that is known in both."""
    return any(differ(a, b) for a, b in zip(left, right, strict=True))


def is_integer(number: Any) -> bool:
    """Whether a number is an integer of any library; True and False are none."""
    if isinstance(number, int):  # first, for a compiler takes what operator.index reads for a constant
        return not isinstance(number, bool)
    try:
        operator.index(number)
    except TypeError:
        return False
    return not isinstance(number, bool)
