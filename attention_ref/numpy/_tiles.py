"""A call of attention divided into heads, and heads into tiles of queries and keys."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from attention_ref.numpy._arrays import Array, Arrays, widen
from attention_ref.numpy._band import band
from attention_ref.spec.shapes import Sizes

QUERIES, KEYS = 256, 512
"""The numbers of queries and keys of a tile, whose scores in float32, 512 KiB, fit in a core's second-level cache."""

_FROM_DIAGONAL = np.triu(np.ones((QUERIES, QUERIES), dtype=bool))
_BELOW_DIAGONAL = ~_FROM_DIAGONAL


class Scale(NamedTuple):
    """The map of products to scores: `softcap * tanh(product * factor / softcap)`.

    A factor that is a power of two multiplies the queries, which is exact; any other factor multiplies the scores.
    """

    of_queries: float
    of_scores: float
    softcap: float | None

    @classmethod
    def of(cls, sizes: Sizes, options: Mapping[str, Any]) -> Scale:
        """Return the scale of a call."""
        given, softcap = options["scale"], options["softcap"]
        factor = 1 / math.sqrt(sizes.head_size) if given is None else float(given)
        is_power_of_two = math.frexp(factor)[0] == 0.5
        factors = (factor, 1.0) if is_power_of_two else (1.0, factor)
        return cls(*factors, None if softcap is None else float(softcap))

    def queries(self, rows: Array) -> Array:
        """Widen the queries of a tile and multiply them by their factor."""
        rows = widen(rows)
        return rows if self.of_queries == 1 else rows * self.of_queries

    def scores(self, rows: Array, key: Array, scratch: Array) -> Array:
        """Return the scores `(q,k)` of scaled queries `(q,d)` and keys `(k,d)`, in the memory of `scratch`."""
        shape = (len(rows), len(key))
        return self.apply(np.matmul(rows, key.T, out=scratch[: math.prod(shape)].reshape(shape)))

    def apply(self, scores: Array) -> Array:
        """Apply the factor of the scores and the softcap to products, in place."""
        if self.of_scores != 1:
            scores *= self.of_scores
        if self.softcap is not None:
            scores /= self.softcap
            np.tanh(scores, out=scores)
            scores *= self.softcap
        return scores

    def largest(self, rows: Array, key: Array) -> float:
        """Return an upper bound of the absolute scores of scaled queries: the product of the largest norms
        (Cauchy-Schwarz).
        """
        squares = [float(np.max(np.einsum("ld,ld->l", array, array), initial=0)) for array in (rows, key)]
        largest = abs(self.of_scores) * math.sqrt(squares[0]) * math.sqrt(squares[1])
        return largest if self.softcap is None else min(largest, self.softcap)


class Head(NamedTuple):
    """The arguments of one query head of one batch row: arrays without batch and head axes, in at least float32.

    `mask`, `bias` and `dropout_mask` broadcast to `(q,k)`, and are not expanded along axes of size 1. `lowest` and
    `highest` are the first and last visible diagonal `j - i`, `length` is the number of keys that are not padding.
    """

    query: Array
    key: Array
    value: Array
    mask: Array | None
    bias: Array | None
    dropout_mask: Array | None
    sink: Any
    lowest: int
    highest: int
    length: int

    def visible_range(self, queries: slice) -> slice:
        """Return the range of keys that some of the queries may see by diagonals and length."""
        start = min(max(queries.start + self.lowest, 0), self.length)
        return slice(start, min(max(queries.stop + self.highest, start), self.length))

    def visible_tiles(self, queries: slice) -> Iterator[slice]:
        """Iterate over the tiles of keys that some of the queries may see."""
        visible = self.visible_range(queries)
        step = KEYS * 4 // self.key.itemsize
        for start in range(visible.start, visible.stop, step):
            keys = slice(start, min(start + step, visible.stop))
            mask, bias = part(self.mask, queries, keys), part(self.bias, queries, keys)
            is_hidden = mask is not None and not mask.any()
            if bias is not None and bias.size and bias.flat[0] == -np.inf:
                is_hidden = is_hidden or bool(np.all(bias == -np.inf))
            if not is_hidden:
                yield keys

    def add_bias_and_hide(self, scores: Array, queries: slice, keys: slice) -> None:
        """Add the bias to the scores of a tile, and set the scores of hidden keys to -inf."""
        bias, mask = part(self.bias, queries, keys), part(self.mask, queries, keys)
        if bias is not None:
            scores += bias
        first = max(keys.start, queries.start + self.highest + 1)  # from here on, keys are hidden from some query
        if first < keys.stop:
            at = first - (queries.start + self.highest + 1)
            hidden = _FROM_DIAGONAL[: len(scores), at : at + keys.stop - first]
            np.copyto(scores[:, first - keys.start :], -np.inf, where=hidden)
        last = min(keys.stop, queries.stop - 1 + self.lowest)  # before this, keys are hidden from some query
        if last > keys.start:
            at = keys.start - (queries.start + self.lowest)
            hidden = _BELOW_DIAGONAL[: len(scores), at : at + last - keys.start]
            np.copyto(scores[:, : last - keys.start], -np.inf, where=hidden)
        if mask is not None and not mask.all():
            np.copyto(scores, -np.inf, where=~mask)

    def sees_any(self, queries: slice) -> Array:
        """Return whether each query sees any key: boolean `(q,)`."""
        seen = np.zeros(queries.stop - queries.start, dtype=bool)
        for keys in self.visible_tiles(queries):
            scores = np.zeros((len(seen), keys.stop - keys.start), np.float32)
            self.add_bias_and_hide(scores, queries, keys)
            seen |= np.any(scores != -np.inf, axis=1)
        return seen


def part(array: Array | None, queries: slice, keys: slice) -> Array | None:
    """Return the part of an array for a tile; the array broadcasts to `(q,k)`, and axes of size 1 stay."""
    if array is None:
        return None
    wanted = (queries, keys)[2 - array.ndim :]
    return array[(*(at if size != 1 else slice(None) for at, size in zip(wanted, array.shape, strict=True)), ...)]


class Heads:
    """The query heads of a call; a head is widened when it is requested, and not copied otherwise."""

    def __init__(self, arrays: Arrays, sizes: Sizes, options: Mapping[str, Any]) -> None:
        self.arrays, self.sizes = arrays, sizes
        self.band = band(options["causal"], arrays["query_offset"], options["window"])

    def head(self, index: tuple[int, ...]) -> Head:
        """Return the query head at `(*batch, head)`."""
        *row, head = index
        arrays, sizes = self.arrays, self.sizes
        group = (*row, head // (sizes.heads // sizes.groups))
        lengths, sinks, bias = arrays["key_lengths"], arrays["sinks"], of_head(arrays["bias"], index)
        far = sizes.query_length + sizes.key_length  # beyond all diagonals
        lowest, highest = (min(max(_of_row(bound, row), -far), far) for bound in self.band)
        return Head(
            query=arrays["query"][index],
            key=widen(arrays["key"][group]),
            value=widen(arrays["value"][group]),
            mask=of_head(arrays["mask"], index),
            bias=None if bias is None else widen(bias),
            dropout_mask=of_head(arrays["dropout_mask"], index),
            sink=None if sinks is None else widen(sinks)[head],
            lowest=lowest,
            highest=highest,
            length=sizes.key_length if lengths is None else _of_row(lengths, row),
        )


def _of_row(array: Array, row: list[int]) -> int:
    """Return a batch row's integer, from one for all rows or one for each."""
    return int(array[tuple(row)] if array.ndim else array)


def of_head(array: Array | None, index: tuple[int, ...]) -> Array | None:
    """Return the head at `index` of an array that broadcasts to `(b,h,q,k)`."""
    if array is None:
        return None
    leading = array.shape[:-2]
    wanted = index[len(index) - len(leading) :]
    return array[(*(0 if size == 1 else at for at, size in zip(wanted, leading, strict=True)), ...)]
