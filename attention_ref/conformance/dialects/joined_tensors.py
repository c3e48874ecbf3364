"""Query, key and value in one array, as one projection computes them: of batch rows, or of packed sequences."""

from __future__ import annotations

from typing import Any

import numpy as np

from attention_ref.conformance.dialects import axes
from attention_ref.conformance.dialects.dense_layout import restored
from attention_ref.conformance.dialects.option_rules import Sizes
from attention_ref.conformance.dialects.packed_sequences import restored_rows, starts
from attention_ref.conformance.dialects.stored_call import Call, StoredCall, gathered, require_alignment, tokens
from attention_ref.conformance.errors import Unsupported
from attention_ref.conformance.frameworks import framework_of

_UNUSED = 8.0
"""What unused tokens hold in queries, keys and values: scores and values that nobody can overlook."""


def joined(call: Call) -> StoredCall:
    """Stack query, key and value along an axis `tensors`, or append their heads where the layout has no such axis.

    Raises:
        Unsupported: if their lengths or sizes differ, or their heads do where they are stacked.
    """
    sizes, phrase = call.sizes, axes.parse(call.dialect.layout)
    array, is_stacked = _in_one_array(call)
    return StoredCall(
        tensors={"query_key_value": axes.arrange(array, phrase, axes.JOINED if is_stacked else axes.TENSOR)},
        options=call.options,
        sizes=sizes,
        restore=lambda name, result: restored(call, name, result),
    )


def packed_in_one_array(call: Call) -> StoredCall:
    """Store query, key and value of all tokens in one array, each batch row between sequences of other lengths.

    The rows have the same length, and so that the packed sequences have not, sequences of unused memory lie between
    them, before the first and behind the last; their output is not read.

    Raises:
        Unsupported: as `joined`, and for key lengths, for every query is a key of its sequence.
    """
    sizes, phrase = call.sizes, axes.parse(call.dialect.layout)
    if np.any(call.key_lengths != sizes.keys):
        raise Unsupported("as many queries as keys in every sequence, so no key lengths")
    array, is_stacked = _in_one_array(call)
    names = axes.JOINED_TOKENS if is_stacked else axes.TOKENS
    unused = [1 + (5 * row + sizes.keys // 3) % 67 for row in range(call.rows + 1)]
    lengths = [length for before in unused[:-1] for length in (before, sizes.keys)] + unused[-1:]
    edges = starts(lengths)
    places = np.repeat(edges[1:-1:2], sizes.keys) + np.tile(np.arange(sizes.keys), call.rows)
    indices = np.full(edges[-1], call.rows * sizes.keys)  # unused
    indices[places] = np.arange(len(places))
    flat = _tokens(array, sizes, is_stacked)  # (n,3*h,d) or (n,h+2g,d)
    stored = gathered(flat, indices.tolist(), _UNUSED)
    if is_stacked:
        stored = framework_of(stored).reshape(stored, (len(indices), 3, sizes.heads, sizes.size))
    integers = call.integers(edges)
    given = {"query_starts": integers, "key_starts": integers}
    given |= dict.fromkeys(("longest_query", "longest_keys"), max(lengths, default=0))
    return StoredCall(
        tensors={"query_key_value": axes.arrange(stored, phrase, names)},
        options={name: option for name, option in call.options.items() if name != "key_lengths"},
        sizes=sizes,
        restore=lambda name, result: restored_rows(call, name, result, places.tolist(), len(indices)),
        arguments={name: number for name, number in given.items() if name in call.words},
    )


def _tokens(array: Any, sizes: Sizes, is_stacked: bool) -> Any:
    """Return the tokens of all batch rows with their heads, `(n,h,d)`, those of stacked tensors one after the other."""
    if is_stacked:
        array = framework_of(array).reshape(array, (*sizes.batch, 3 * sizes.heads, sizes.keys, sizes.size))
    return tokens(array)


def _in_one_array(call: Call) -> tuple[Any, bool]:
    """Return `(...,3,h,l,d)` and True where the layout stacks the tensors, otherwise `(...,h+2g,l,d)` and False."""
    require_alignment(call, call.sizes.keys)
    sizes = call.sizes
    if sizes.queries != sizes.keys:
        raise Unsupported("as many queries as keys, which lie in one array with them")
    if sizes.size != sizes.value_size:
        raise Unsupported("values of the head size, which lie in one array with queries and keys")
    framework, rank = framework_of(call.query), len(call.query.shape)
    tensors: list[Any] = [call.query, call.key, call.value]
    is_stacked = "tensors" in axes.flat(axes.parse(call.dialect.layout))
    if is_stacked:
        if sizes.heads != sizes.groups:
            raise Unsupported("as many key/value heads as query heads, which are stacked with them")
        tensors = [framework.reshape(each, (*sizes.batch, 1, *map(int, each.shape[-3:]))) for each in tensors]
    return framework.concatenate(tensors, rank - 3), is_stacked
