"""Blocks of queries, the range of keys that each may see, and the visible keys of each query."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from attention_ref.keras._arrays import Array, Arrays, as_int32, is_traced
from attention_ref.keras._band import Band, band, diagonals, inside
from attention_ref.spec.shapes import Sizes

NUMBERS = 2**21
"""The largest number of scores of a block, unless it has only `SMALLEST` queries."""

SMALLEST, LARGEST = 64, 256

LOOPS = 4
"""The number of loops into which the blocks of a compiled call are divided if each sees more keys than the previous
one. More loops skip more hidden keys and take longer to compile."""


class Block(NamedTuple):
    """`rows` queries from `start` on, which see only the `width` keys from `first` on.

    The starts are integers, or tensors in a compiled loop; the sizes are integers.
    """

    start: Any
    rows: int
    first: Any
    width: int


class Hidden(NamedTuple):
    """Which rules may hide a key of a block from its queries, besides mask and bias."""

    early: bool
    late: bool
    padding: bool


class Visibility:
    """The visible keys of a call with one batch axis, block by block.

    Arguments:
        arrays: the arguments, as `check_call` returns them.
        sizes, options: of the call.
    """

    def __init__(self, arrays: Arrays, sizes: Sizes, options: Mapping[str, Any]) -> None:
        self.query_length, self.key_length = sizes.query_length, sizes.key_length
        self.mask = with_one_batch_axis(arrays["mask"], sizes.batch)
        lengths, offset = arrays["key_lengths"], arrays["query_offset"]
        self.lengths = None if lengths is None else ops.reshape(as_int32(lengths), (-1,))  # (b,) or (1,)
        offset = offset if len(offset.shape) < 2 else offset.reshape(-1)
        self.band = band(options["causal"], offset, options["window"])
        lowest, highest = (_range(bound) for bound in self.band)
        self.lowest = None if self.band.lowest is None else lowest or (-self.query_length, self.key_length)
        self.highest = None if self.band.highest is None else highest or (-self.query_length, self.key_length)
        self.longest = self.key_length
        if isinstance(lengths, np.ndarray):
            self.longest = int(lengths.max(initial=0))

    def blocks(self, leading: int) -> list[Block]:
        """Divide the queries into blocks that have `leading` numbers for each query and key."""
        width = self.key_length
        if self.lowest is not None and self.highest is not None:
            width = max(1, min(width, self.highest[1] - self.lowest[0] + LARGEST))
        rows = max(SMALLEST, min(LARGEST, NUMBERS // (leading * width)))
        blocks = []
        for start in range(0, self.query_length, rows):
            stop, first, last = min(start + rows, self.query_length), 0, self.longest
            if self.lowest is not None:
                first = min(max(first, start + self.lowest[0]), last)
            if self.highest is not None:
                last = min(last, stop + self.highest[1])
            first = min(first, self.key_length - 1)
            blocks.append(Block(start, stop - start, first, max(last - first, 1)))  # at least one key
        return blocks

    def hidden(self, block: Block) -> Hidden:
        """Return which rules may hide a key of the block from a query of the block."""
        end = block.first + block.width
        early = self.lowest is not None and block.first < block.start + block.rows - 1 + self.lowest[1]
        late = self.highest is not None and end - 1 > block.start + self.highest[0]
        return Hidden(early, late, self.lengths is not None)

    def hidden_in(self, blocks: Sequence[Block]) -> Hidden:
        """Return which rules may hide a key of any of the blocks from a query of its block."""
        return Hidden(*(any(parts) for parts in zip(*map(self.hidden, blocks), strict=True)))

    def visible(self, block: Block, hidden: Hidden) -> Array | None:
        """Return which keys of the block its queries see, without the bias: `(b|1,h|1,q|1,k|1)`, or None for all."""
        rules = [] if self.mask is None else [cut(self.mask, block)]
        if hidden.padding:
            places = ops.arange(block.width, dtype="int32") + block.first
            rules.append(places < self.lengths[:, None, None, None])
        bounds = Band(self.band.lowest if hidden.early else None, self.band.highest if hidden.late else None)
        rule = inside(bounds, diagonals(block.rows, block.width, block.first - block.start))
        if rule is not None:
            rules.append(rule if len(rule.shape) == 4 else rule[None, None])
        return functools.reduce(ops.logical_and, rules) if rules else None


def by_blocks(
    attend: Callable[[Block, Hidden], list[Array]], rules: Visibility, blocks: list[Block], like: Array, loops: int
) -> list[Array]:
    """Compute attention block by block and concatenate the results along the queries.

    Arguments:
        attend: computes the results of a block.
        rules: the visible keys.
        blocks: of the queries.
        like: an array of the call.
        loops: the number of loops of a compiled call.
    """
    results = [_in_a_loop(attend, rules, loop) for loop in loops_of(rules, blocks, like, loops)]
    return [parts[0] if len(parts) == 1 else ops.concatenate(parts, axis=2) for parts in zip(*results, strict=True)]


def loops_of(rules: Visibility, blocks: Sequence[Block], like: Array, loops: int) -> list[list[Block]]:
    """Divide blocks into loops, and make the blocks of a loop equal in size.

    A compiler would run the blocks of a Python loop at the same time, with memory for all of them; so in compiled
    calls, and always on the JAX engine, blocks run in loops of the framework. Elsewhere a loop has one block.
    """
    if len(blocks) == 1 or (keras.config.backend() != "jax" and not is_traced(like)):
        return [[block] for block in blocks]
    whole = [block for block in blocks if block.rows == blocks[0].rows]
    is_one = (rules.lowest is None) == (rules.highest is None)
    count = len(whole) if is_one else math.ceil(len(whole) / loops)
    divided = [whole[start : start + count] for start in range(0, len(whole), count)]
    divided += [[block] for block in blocks[len(whole) :]]
    equal = []
    for loop in divided:
        width = max(block.width for block in loop)
        equal.append([Block(b.start, b.rows, min(b.first, rules.key_length - width), width) for b in loop])
    return equal


def _in_a_loop(attend: Callable[[Block, Hidden], list[Array]], rules: Visibility, blocks: list[Block]) -> list[Array]:
    """Attend in blocks of the same size, one after the other."""
    hidden = rules.hidden_in(blocks)
    if len(blocks) == 1:
        return attend(blocks[0], hidden)
    _, rows, _, width = blocks[0]
    results = ops.map(lambda at: attend(Block(at[0], rows, at[1], width), hidden), starts_of(blocks))  # (n,b,h,q,...)
    return [_joined(result) for result in results]


def starts_of(blocks: Sequence[Block]) -> Array:
    """Return the first query and the first key of each block, int32 `(n,2)`."""
    return ops.convert_to_tensor(np.array([(block.start, block.first) for block in blocks], np.int32))


def _joined(result: Array) -> Array:
    """Concatenate blocks along the queries: `(n,b,h,q,...)` to `(b,h,n*q,...)`."""
    result = ops.moveaxis(result, 0, 2)
    shape = ops.shape(result)
    return ops.reshape(result, (*shape[:2], shape[2] * shape[3], *shape[4:]))


def with_one_batch_axis(array: Array | None, batch: tuple[Any, ...]) -> Array | None:
    """Reshape an array that broadcasts to `(*batch,h,q,k)` to four axes: `(b|1,h|1,q|1,k|1)`."""
    if array is None or len(array.shape) == 4 == len(batch) + 3:
        return array
    array = array[(None,) * (len(batch) + 3 - len(array.shape))]
    if any(size != 1 for size in array.shape[:-3]):
        array = ops.broadcast_to(array, (*batch, *ops.shape(array)[-3:]))
    return ops.reshape(array, (-1, *ops.shape(array)[-3:]))


def cut(array: Array, block: Block) -> Array:
    """Return the part for a block of an array that broadcasts to the scores."""
    if array.shape[2] != 1:
        array = part(array, 2, block.start, block.rows)
    return array if array.shape[3] == 1 else part(array, 3, block.first, block.width)


def part(array: Array, axis: int, start: Any, length: int) -> Array:
    """Return `length` elements of the third or fourth axis from `start` on, an integer or a tensor."""
    if isinstance(start, int):
        if start == 0 and length == array.shape[axis]:
            return array
        index = (slice(None),) * axis + (slice(start, start + length),)
        return array[index]
    sizes = ops.shape(array)
    starts = [ops.zeros_like(start)] * len(sizes)
    starts[axis] = start
    return ops.slice(array, starts, (*sizes[:axis], length, *sizes[axis + 1 :]))


def _range(bound: Any) -> tuple[int, int] | None:
    """Return the smallest and the largest integer of a bound; None if they cannot be read."""
    if not isinstance(bound, (np.ndarray, np.generic)):
        return None
    return int(bound.min()), int(bound.max())
