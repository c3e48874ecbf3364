"""Sequences of different lengths one behind the other, without padding, and where each begins: FlashAttention's varlen.

A call of the specification has as many queries in every batch row. Each row is cut in two, at another place in every
row, so that the packed sequences differ in the lengths of queries and of keys, as prompts and chunks of prompts do.
Keys and values are packed like the queries, or lie in pages.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from attention_ref.conformance.dialects import axes
from attention_ref.conformance.dialects.dense_layout import output_layout, require_shape
from attention_ref.conformance.dialects.paged_keys import in_pages
from attention_ref.conformance.dialects.stored_call import GARBAGE, Call, StoredCall, gathered, tokens
from attention_ref.conformance.errors import Unsupported
from attention_ref.conformance.frameworks import framework_of


class PackedSequence(NamedTuple):
    """Some queries of a batch row with the keys that they attend to.

    Arguments:
        row: the batch row.
        first, last: its queries `first` to `last - 1`.
        keys: how many keys of the row it has, from the first on.
        offset: the position of its first query among the keys.
    """

    row: int
    first: int
    last: int
    keys: int
    offset: int


def packed(call: Call) -> StoredCall:
    """Store queries, and keys without padding, as tokens `(n,h,d)`; lengths become cumulative lengths."""
    sequences, layout = _sequences(call), axes.parse(call.dialect.layout)
    indices = [each.row * call.sizes.keys + place for each in sequences for place in range(each.keys)]
    keys = {name: gathered(tokens(getattr(call, name)), indices, GARBAGE[name]) for name in ("key", "value")}
    lengths = [each.keys for each in sequences]
    given = {"key_starts": call.integers(starts(lengths)), "longest_keys": max(lengths, default=0)}
    arranged = {name: axes.arrange(array, layout, axes.TOKENS) for name, array in keys.items()}
    return _with_queries(call, sequences, arranged, given, {})


def packed_on_pages(call: Call) -> StoredCall:
    """Store queries as tokens `(n,h,d)` and keys in pages, with a row of the table for each sequence.

    Lengths of keys are passed for each sequence, cumulative ones too where the function takes them.
    """
    sequences = _sequences(call)
    pages = in_pages(call, [(each.row, each.keys) for each in sequences])
    lengths = [each.keys for each in sequences]
    given = pages.arguments | {"key_starts": call.integers(starts(lengths))}
    options = {"key_lengths": call.integers(lengths)} if "key_lengths" in call.words else {}
    return _with_queries(call, sequences, pages.tensors, given, options)


def _with_queries(
    call: Call,
    sequences: Sequence[PackedSequence],
    keys: Mapping[str, Any],
    arguments: Mapping[str, Any],
    options: Mapping[str, Any],
) -> StoredCall:
    """Return the call whose queries are packed, with its stored keys and values, and what says where they lie."""
    query = axes.arrange(tokens(call.query), axes.parse(call.dialect.layout), axes.TOKENS)
    lengths = [each.last - each.first for each in sequences]
    given = {"query_starts": call.integers(starts(lengths)), "longest_query": max(lengths, default=0), **arguments}
    rest = {name: option for name, option in call.options.items() if name not in ("key_lengths", "query_offset")}
    if call.places and "query_offset" in call.words and call.dialect.causal_alignment == "offset":
        rest["query_offset"] = call.integers([each.offset for each in sequences])
    return StoredCall(
        tensors={"query": query, **keys},
        options={**rest, **options},
        sizes=call.sizes,
        restore=lambda name, array: restored_rows(call, name, array),
        arguments={name: number for name, number in given.items() if name in call.words},
    )


def _sequences(call: Call) -> list[PackedSequence]:
    """Return the sequences of a call, cut where the dialect can express both parts."""
    for cuts in (_cuts(call), [0] * call.rows):
        found = [sequence for row, cut in enumerate(cuts) for sequence in _of_row(call, row, cut)]
        if all(sequence is not None for sequence in found):
            return [sequence for sequence in found if sequence is not None]
    alignment = call.dialect.causal_alignment
    where = "0" if alignment != "bottom right" else "the row's number of keys less that of its queries"
    raise Unsupported(f"its causal diagonal is aligned {alignment} in every sequence: only an offset of {where}")


def _cuts(call: Call) -> list[int]:
    """Return before which query each row is cut; 0 for a row of one query."""
    queries = call.sizes.queries
    return [1 + (7 * row + queries // 3) % (queries - 1) if queries > 1 else 0 for row in range(call.rows)]


def _of_row(call: Call, row: int, cut: int) -> Iterator[PackedSequence | None]:
    """Return the sequences of a row, None for one that the dialect cannot express."""
    edges = [0, cut, call.sizes.queries] if cut else [0, call.sizes.queries]
    length, offset = int(call.key_lengths[row]), int(call.query_offsets[row])
    for first, last in pairwise(edges):
        whole = PackedSequence(row, first, last, length, first + offset)
        yield _aligned(call, whole) if call.places else whole


def _aligned(call: Call, sequence: PackedSequence) -> PackedSequence | None:
    """Return a sequence whose diagonal is the dialect's, without keys after those that its last query sees."""
    if call.dialect.causal_alignment == "bottom right":
        seen = sequence.last - sequence.first + sequence.offset  # as many as end at the last query
        fits = 0 <= seen <= sequence.keys if _hides_later_keys(call) else seen == sequence.keys
        return sequence._replace(keys=seen) if fits else None
    takes_offset = call.dialect.causal_alignment == "offset" and "query_offset" in call.words
    return sequence if takes_offset or sequence.offset == 0 else None


def _hides_later_keys(call: Call) -> bool:
    """Return whether no query sees a key after its own position."""
    _, right = call.options.get("window", (None, None))
    return "causal" in call.options or (right is not None and right <= 0)


def starts(lengths: Sequence[int]) -> np.ndarray:
    """Return where each sequence begins, and where the last one ends."""
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])


def restored_rows(call: Call, name: str, array: Any, places: Sequence[int] | None = None, total: int = 0) -> Any:
    """Return a packed result by batch rows: the sequences of the queries are in the order of the rows.

    Arguments:
        call: the call.
        name: `"output"` or `"log_sum_exp"`.
        array: the result for all tokens.
        places: which of them are the queries of the rows; None: all.
        total: how many tokens there are, where there are others.
    """
    framework, sizes = framework_of(array), call.sizes
    is_output = name == "output"
    names = axes.TOKENS if is_output else axes.TOKEN_ROWS
    text = output_layout(call.dialect) if is_output else call.dialect.log_sum_exp_layout
    count = call.rows * sizes.queries if places is None else total
    behind = {"tokens": [count], "heads": [sizes.heads], "size": [sizes.value_size]}
    phrase = axes.parse(text)
    require_shape(name, array, axes.shape_in(phrase, behind), text)
    array = axes.restore(array, phrase, names, behind)  # (n,h,v) or (n,h)
    array = array if places is None else framework.take(array, places, 0)
    last = (sizes.value_size,) if is_output else ()
    rows, rank = framework.reshape(array, (*sizes.batch, sizes.queries, sizes.heads, *last)), len(sizes.batch)
    order = [*range(rank), rank + 1, rank, *([rank + 2] if is_output else [])]
    return framework.transpose(rows, order)  # (...,h,q,v) or (...,h,q)
