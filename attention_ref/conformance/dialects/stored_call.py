"""A call before and after a storage rule: how the sequences of a dialect lie in memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from attention_ref.conformance.dialects.dialect import Dialect
from attention_ref.conformance.dialects.option_rules import Sizes
from attention_ref.conformance.errors import Unsupported
from attention_ref.conformance.frameworks import framework_of, values_of

GARBAGE = {"query": 0.0, "key": 0.25, "value": 1024.0}
"""What unused memory holds: scores that take part in a softmax, and values that nobody can overlook."""


@dataclass(frozen=True)
class Call:
    """A call in the specification's order of axes.

    Arguments:
        dialect, words: the convention, and the function's argument names.
        query, key, value: `(...,h,q,d)`, `(...,g,k,d)` and `(...,g,k,v)`.
        options: the options that differ from their defaults.
        sizes: the sizes.
    """

    dialect: Dialect
    words: Mapping[str, str]
    query: Any
    key: Any
    value: Any
    options: Mapping[str, Any]
    sizes: Sizes

    @property
    def rows(self) -> int:
        """The number of batch rows."""
        return math.prod(self.sizes.batch)

    @property
    def key_lengths(self) -> np.ndarray:
        """The number of keys of each batch row, `(rows)`."""
        lengths = values_of(self.options.get("key_lengths", self.sizes.keys))
        return np.broadcast_to(lengths, self.sizes.batch).reshape(-1).astype(np.int64)

    @property
    def query_offsets(self) -> np.ndarray:
        """The position of the first query of each batch row, `(rows)`."""
        offset = values_of(self.options.get("query_offset", 0))
        return np.broadcast_to(offset, self.sizes.batch).reshape(-1).astype(np.int64)

    @property
    def places(self) -> list[str]:
        """The options that compare positions by an argument of the function, not by a mask."""
        return [name for name in ("causal", "window") if name in self.options and name not in self.dialect.by_mask]

    def integers(self, numbers: Any) -> Any:
        """Make an array of 32-bit integers beside the query."""
        return framework_of(self.query).constant(np.asarray(numbers, np.int32), self.query)


@dataclass(frozen=True)
class StoredCall:
    """The arrays and arguments that express a call.

    Arguments:
        tensors: query, key and value as the function takes them, or one array `query_key_value`.
        options: the options that are still to be translated.
        sizes: the sizes that these options refer to.
        restore: `restore(name, array)` returns a result in the specification's order of axes.
        arguments: further arguments by their names in a dialect, such as `key_starts`.
    """

    tensors: Mapping[str, Any]
    options: Mapping[str, Any]
    sizes: Sizes
    restore: Callable[[str, Any], Any]
    arguments: Mapping[str, Any] = field(default_factory=dict)


def require_alignment(call: Call, lengths: Any) -> None:
    """Raise `Unsupported` if causality or a window has another diagonal than the dialect's.

    Arguments:
        call: the call.
        lengths: the number of keys that a diagonal at the bottom right refers to: one, or one for each batch row.
    """
    alignment = call.dialect.causal_alignment
    if not call.places or alignment == "offset":
        return
    aligned = 0 if alignment == "top left" else lengths - call.sizes.queries
    if np.any(call.query_offsets != aligned):
        only = "0" if alignment == "top left" else "k - q"
        raise Unsupported(f"its causal diagonal is aligned {alignment}: only an offset of {only}")


def tokens(array: Any) -> Any:
    """Return all batch rows one after the other: `(...,h,n,d)` as `(rows*n,h,d)`."""
    framework, rank = framework_of(array), len(array.shape)
    *_, heads, length, size = map(int, array.shape)
    turned = framework.transpose(array, [*range(rank - 3), rank - 2, rank - 3, rank - 1])  # (...,n,h,d)
    return framework.reshape(turned, (math.prod(map(int, array.shape[:-3])) * length, heads, size))


def gathered(array: Any, indices: Sequence[int], garbage: float) -> Any:
    """Select tokens of `(n,h,d)` by index; an index of n is unused memory."""
    framework = framework_of(array)
    unused = framework.broadcast(framework.scalar(garbage, array), (1, *map(int, array.shape[1:])))
    return framework.take(framework.concatenate([array, unused], 0), indices, 0)
