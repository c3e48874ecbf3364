"""Keys and values in pages of a fixed size, which a table assigns to batch rows: vLLM's PagedAttention."""

from __future__ import annotations

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


def paged(call: Call) -> StoredCall:
    """Store keys and values in pages, and pass the table of pages `(rows,pages)` and the lengths `(rows)`.

    The pages lie in a shuffled order. One page is used by nobody; entries of the table behind a row's last page name
    it. Slots behind a row's length hold what the call has there, such as NaN, and what is unused otherwise.
    """
    require_alignment(call, call.key_lengths)
    size, keys, lengths = call.dialect.page_size, call.sizes.keys, call.key_lengths
    counts = -(-lengths // size)
    total = int(counts.sum()) + 1
    order = np.random.default_rng(total).permutation(total)
    table = np.full((call.rows, max(1, int(counts.max(initial=0)))), order[-1])
    indices = np.full((total, size), call.rows * keys)  # unused
    used = iter(order)
    for row, count in enumerate(counts):
        for number in range(count):
            table[row, number] = page = next(used)
            places = number * size + np.arange(size)
            indices[page] = np.where(places < keys, row * keys + places, call.rows * keys)
    tensors = {"query": axes.arrange(call.query, axes.parse(call.dialect.layout), axes.TENSOR)}
    for name in ("key", "value"):
        array = tokens(getattr(call, name))
        slots = gathered(array, indices.reshape(-1).tolist(), GARBAGE[name])  # (pages*slots,g,d)
        pages = framework_of(array).reshape(slots, (total, size, *map(int, array.shape[1:])))
        tensors[name] = axes.arrange(pages, axes.parse(call.dialect.page_layout), axes.PAGES)
    given = {"page_table": call.integers(table), "longest_keys": int(lengths.max(initial=0))}
    return StoredCall(
        tensors=tensors,
        options={**call.options, "key_lengths": call.integers(lengths)},
        sizes=call.sizes,
        restore=lambda name, result: restored(call, name, result),
        arguments={name: thing for name, thing in given.items() if name in call.words},
    )
