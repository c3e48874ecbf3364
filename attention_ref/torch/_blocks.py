"""Blocks of queries, the range of keys that each may see, and the visible keys of each query."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch

from attention_ref.spec.shapes import Sizes
from attention_ref.torch._arrays import Array, Arrays
from attention_ref.torch._band import Band, band, inside

NUMBERS = 2**20
"""The largest number of scores of a block, unless it has only `SMALLEST` queries."""

SMALLEST, LARGEST = 32, 256


class Block(NamedTuple):
    """The queries from `start` to `stop`, which see only keys from `first` to `last`."""

    start: int
    stop: int
    first: int
    last: int


class Visibility:
    """The visible keys of a call with one batch axis, block by block.

    Arguments:
        arrays: the arguments, as `check_call` returns them.
        sizes, options: of the call.
    """

    def __init__(self, arrays: Arrays, sizes: Sizes, options: Mapping[str, Any]) -> None:
        self.query_length, self.key_length = sizes.query_length, sizes.key_length
        self.device = arrays["query"].device
        self.mask = with_one_batch_axis(arrays["mask"], sizes.batch)
        lengths, offset = arrays["key_lengths"], arrays["query_offset"]
        self.lengths = None if lengths is None else lengths.long().flatten()  # (b,), or (1,) of one length for all
        offset = offset.flatten() if isinstance(offset, Array) and offset.ndim else offset
        given = band(options["causal"], offset, options["window"])
        self.band = Band(*(_within(bound, -self.query_length, self.key_length) for bound in given))
        self.lowest, self.highest = (_range(bound) for bound in self.band)
        self.shortest, self.longest = _range(self.lengths) or (None, None)

    def whole(self) -> Block:
        """Return all queries and keys as one block."""
        return Block(0, self.query_length, 0, self.key_length)

    def blocks(self, leading: int) -> Iterator[Block]:
        """Divide the queries into blocks that have `leading` numbers for each query and key."""
        width = self.key_length
        if self.lowest is not None and self.highest is not None:
            width = max(1, min(width, self.highest[1] - self.lowest[0] + LARGEST))
        rows = max(SMALLEST, min(LARGEST, NUMBERS // (leading * width)))
        for start in range(0, self.query_length, rows):
            stop, first, last = min(start + rows, self.query_length), 0, self.key_length
            if self.lowest is not None:
                first = min(max(first, start + self.lowest[0]), last)
            if self.highest is not None:
                last = min(last, stop + self.highest[1])
            if self.longest is not None:
                last = min(last, self.longest)
            yield Block(start, stop, first, max(first, last))

    def hides_early(self, block: Block) -> bool:
        """Return whether a key of the block is before the band of a query of the block."""
        return self.lowest is not None and block.first < block.stop - 1 + self.lowest[1]

    def hides_late(self, block: Block) -> bool:
        """Return whether a key of the block is after the band of a query of the block."""
        return self.highest is not None and block.last - 1 > block.start + self.highest[0]

    def hides_padding(self, block: Block) -> bool:
        """Return whether a key of the block is padding in some batch row."""
        return self.shortest is not None and self.shortest < block.last

    def visible(self, block: Block) -> Array | None:
        """Return which keys of the block its queries see, without the bias: `(b|1,h|1,q|1,k|1)`, or None for all."""
        start, stop, first, last = block
        rules = [] if self.mask is None else [cut(self.mask, block)]
        if self.hides_padding(block):
            rules.append(torch.arange(first, last, device=self.device) < self.lengths[:, None, None, None])
        lowest = self.band.lowest if self.hides_early(block) else None
        highest = self.band.highest if self.hides_late(block) else None
        if lowest is not None or highest is not None:
            moved = Band(*(None if bound is None else bound + start - first for bound in (lowest, highest)))
            rule = inside(moved, stop - start, last - first, self.device)
            rules.append(rule if rule.ndim == 4 else rule[None, None])
        return functools.reduce(torch.logical_and, rules) if rules else None

    def leading(self) -> int:
        """Return the largest number of elements that `visible` has for each query and key."""
        rows = [bound.shape[0] for bound in (self.lengths, *self.band) if isinstance(bound, Array) and bound.ndim]
        return max(rows + ([] if self.mask is None else [math.prod(self.mask.shape[:2])]), default=1)


def with_one_batch_axis(array: Array | None, batch: tuple[int, ...]) -> Array | None:
    """Reshape an array that broadcasts to `(*batch,h,q,k)` to four axes: `(b|1,h|1,q|1,k|1)`."""
    if array is None:
        return None
    missing = len(batch) + 3 - array.ndim
    if missing:
        array = array.reshape((1,) * missing + array.shape)
    if array.ndim == 4:
        return array
    if any(size != 1 for size in array.shape[:-3]):
        array = array.expand(*batch, *array.shape[-3:])
    return array.reshape(-1, *array.shape[-3:])


def cut(array: Array, block: Block) -> Array:
    """Return the part for a block of an array that broadcasts to the scores."""
    start, stop, first, last = block
    if array.shape[2] not in (1, stop - start):
        array = array[:, :, start:stop]
    return array if array.shape[3] in (1, last - first) else array[..., first:last]


def _within(bound: Any, least: int, most: int) -> Any:
    """Clip a bound to the outermost diagonals, so that additions cannot overflow."""
    if isinstance(bound, Array):
        return bound.clamp(least, most)
    return None if bound is None else min(max(bound, least), most)


def _range(bound: Any) -> tuple[int, int] | None:
    """Return the smallest and the largest integer of a bound; None if it is open."""
    if not isinstance(bound, Array):
        return None if bound is None else (bound, bound)
    numbers = bound.flatten().tolist()
    return min(numbers), max(numbers)
