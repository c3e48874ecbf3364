"""Keys and values in pages of a fixed size, which a table assigns to batch rows: vLLM's PagedAttention."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from attention_ref.conformance.dialects import axes
from attention_ref.conformance.dialects.dense_layout import restored
from attention_ref.conformance.dialects.stored_call import (
    GARBAGE,
    Call,
    StoredCall,
    gathered,
    require_alignment,
    tokens,
)
from attention_ref.conformance.frameworks import framework_of


class Pages(NamedTuple):
    """Keys and values in pages, and the arguments that say which page is whose."""

    tensors: dict[str, Any]
    arguments: dict[str, Any]


def paged(call: Call) -> StoredCall:
    """Store keys and values in pages, and pass the table of pages `(rows,pages)` and the lengths `(rows)`."""
    require_alignment(call, call.key_lengths)
    pages = in_pages(call, list(enumerate(map(int, call.key_lengths))))
    return StoredCall(
        tensors={"query": axes.arrange(call.query, axes.parse(call.dialect.layout), axes.TENSOR), **pages.tensors},
        options={**call.options, "key_lengths": call.integers(call.key_lengths)},
        sizes=call.sizes,
        restore=lambda name, result: restored(call, name, result),
        arguments={name: thing for name, thing in pages.arguments.items() if name in call.words},
    )


def in_pages(call: Call, sequences: Sequence[tuple[int, int]]) -> Pages:
    """Store the keys and values of sequences in pages of their own.

    The pages lie in a shuffled order. One page is used by nobody; entries of the table behind a sequence's last page
    name it. Slots behind a sequence's keys hold what its row has there, such as NaN, and otherwise what is unused.

    Arguments:
        call: the call.
        sequences: of each its batch row, and how many keys of the row it has, from the first on.
    """
    size, keys = call.dialect.page_size, call.sizes.keys
    counts = [-(-length // size) for _, length in sequences]
    total = sum(counts) + 1
    order = np.random.default_rng(total).permutation(total)
    table = np.full((len(sequences), max([1, *counts])), order[-1])
    indices = np.full((total, size), call.rows * keys)  # unused
    used = iter(order)
    for sequence, ((row, _), count) in enumerate(zip(sequences, counts, strict=True)):
        for number in range(count):
            table[sequence, number] = page = next(used)
            places = number * size + np.arange(size)
            indices[page] = np.where(places < keys, row * keys + places, call.rows * keys)
    tensors = {}
    for name in ("key", "value"):
        array = tokens(getattr(call, name))
        slots = gathered(array, indices.reshape(-1).tolist(), GARBAGE[name])  # (pages*slots,g,d)
        pages = framework_of(array).reshape(slots, (total, size, *map(int, array.shape[1:])))
        tensors[name] = axes.arrange(pages, axes.parse(call.dialect.page_layout), axes.PAGES)
    longest = max((length for _, length in sequences), default=0)
    return Pages(tensors, {"page_table": call.integers(table), "longest_keys": longest})
