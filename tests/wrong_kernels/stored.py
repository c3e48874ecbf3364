"""Kernels on sequences as servers store them: packed, in pages, in a buffer, in one array; right ones and wrong ones.

Each is a right kernel with a passage of its addressing; a mistake is what stands there instead.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from attention_ref.conformance import Dialect
from tests.wrong_kernels.right import accumulator, online


def one(query: np.ndarray, key: np.ndarray, value: np.ndarray, **options: Any) -> np.ndarray:
    """Attention of one sequence: `(q,h,d)`, `(k,g,d)` and `(k,g,v)`, with causality at the bottom right."""
    if options.get("causal") or options.get("window"):
        options["query_offset"] = len(key) - len(query)
    return online(*(each.swapaxes(0, 1)[None] for each in (query, key, value)), **options)[0].swapaxes(0, 1)


def packed(
    query: np.ndarray,
    key: np.ndarray,
    value: np.ndarray,
    cu_seqlens_q: np.ndarray,
    cu_seqlens_k: np.ndarray,
    max_seqlen_q: int,
    causal: bool = False,
    window: Any = None,
) -> np.ndarray:
    """Tokens of all sequences, one after the other."""
    output = np.zeros((*query.shape[:2], value.shape[-1]), query.dtype)
    for number in range(len(cu_seqlens_q) - 1):
        first, last = cu_seqlens_q[number], cu_seqlens_q[number + 1]
        start, end = cu_seqlens_k[number], cu_seqlens_k[number + 1]
        assert last - first <= max_seqlen_q
        if start == end:
            continue
        output[first:last] = one(query[first:last], key[start:end], value[start:end], causal=causal, window=window)
    return output


def paged(
    query: np.ndarray,
    key: np.ndarray,
    value: np.ndarray,
    block_table: np.ndarray,
    cache_seqlens: np.ndarray,
    causal: bool = False,
) -> np.ndarray:
    """Queries `(b,q,h,d)`, keys and values in pages `(pages,slots,g,d)`."""
    slots, rows = key.shape[1], []
    for row, length in enumerate(cache_seqlens):
        pages = block_table[row, : -(-length // slots)]
        k, v = (each[pages].reshape(-1, *each.shape[2:])[:length] for each in (key, value))
        rows.append(one(query[row], k, v, causal=causal))
    return np.stack(rows)


def packed_on_pages(
    query: np.ndarray,
    key_cache: np.ndarray,
    value_cache: np.ndarray,
    cu_seqlens_q: np.ndarray,
    block_table: np.ndarray,
    seqused_k: np.ndarray,
    max_seqlen_q: int,
    causal: bool = False,
) -> np.ndarray:
    """Tokens of all sequences one after the other, keys and values in pages `(pages,slots,g,d)`: chunks of prompts."""
    slots, output = key_cache.shape[1], np.zeros((*query.shape[:2], value_cache.shape[-1]), query.dtype)
    for number, length in enumerate(seqused_k):
        first, last = cu_seqlens_q[number], cu_seqlens_q[number + 1]
        assert last - first <= max_seqlen_q
        if length == 0:
            continue
        pages = block_table[number, : -(-length // slots)]
        k, v = (each[pages].reshape(-1, *each.shape[2:])[:length] for each in (key_cache, value_cache))
        output[first:last] = one(query[first:last], k, v, causal=causal)
    return output


def buffered(
    query: np.ndarray, key: np.ndarray, value: np.ndarray, cache_seqlens: np.ndarray, causal: bool = False
) -> np.ndarray:
    """Queries `(b,q,h,d)`, keys and values in a buffer `(b,n,g,d)`."""
    rows = []
    for row, length in enumerate(cache_seqlens):
        rows.append(one(query[row], key[row, :length], value[row, :length], causal=causal))
    return np.stack(rows)


def masked_buffer(query: np.ndarray, key: np.ndarray, value: np.ndarray, mask: Any) -> np.ndarray:
    """Keys and values in a buffer, what is not used hidden by the mask."""
    batch, heads, queries, size = query.shape
    output = np.zeros((*query.shape[:3], value.shape[-1]), query.dtype)
    mask = np.broadcast_to(mask, (batch, heads, queries, key.shape[2]))
    for b, h in np.ndindex(batch, heads):
        g = h * key.shape[1] // heads
        used = mask[b, h].any(axis=0)
        scores = query[b, h] @ key[b, g, used].T / accumulator(query)(size**0.5)
        scores = np.where(mask[b, h][:, used], scores, -np.inf)
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        output[b, h] = weights @ value[b, g, used] / weights.sum(axis=1, keepdims=True)
    return output


def stacked(qkv: np.ndarray, causal: bool = False) -> np.ndarray:
    """One array `(b,l,3,h,d)`."""
    return np.stack([one(row[:, 0], row[:, 1], row[:, 2], causal=causal) for row in qkv])


def projected(qkv: np.ndarray, num_heads: int, num_kv_heads: int) -> np.ndarray:
    """One array `(b,l,(h+2g)*d)`, as a projection computes it."""
    batch, length, _ = qkv.shape
    heads = qkv.reshape(batch, length, num_heads + 2 * num_kv_heads, -1)
    first, second = num_heads, num_heads + num_kv_heads
    rows = [one(row[:, :first], row[:, first:second], row[:, second:]) for row in heads]
    return np.stack(rows).reshape(batch, length, -1)


def packed_stacked(qkv: np.ndarray, cu_seqlens: np.ndarray, max_seqlen: int, causal: bool = False) -> np.ndarray:
    """One array `(tokens,3,h,d)` of all sequences, one after the other."""
    output = np.zeros((len(qkv), *qkv.shape[2:]), qkv.dtype)
    for first, last in pairwise(cu_seqlens):
        assert last - first <= max_seqlen
        query, key, value = qkv[first:last].swapaxes(0, 1)
        output[first:last] = one(query, key, value, causal=causal)
    return output


def packed_projected(
    qkv: np.ndarray, starts: np.ndarray, num_heads: int, num_kv_heads: int, causal: bool = False
) -> np.ndarray:
    """One array `(tokens,(h+2g)*d)` of all sequences, as a projection computes it."""
    heads = qkv.reshape(len(qkv), num_heads + 2 * num_kv_heads, -1)
    output = np.zeros_like(heads[:, :num_heads])
    for first, last in pairwise(starts):
        query, key, value = np.split(heads[first:last], [num_heads, num_heads + num_kv_heads], axis=1)
        output[first:last] = one(query, key, value, causal=causal)
    return output.reshape(len(qkv), -1)


LENGTH_FIRST: Mapping[str, Any] = {"layout": "batch length heads size", "ranks": [4]}
RIGHT: Mapping[str, tuple[Callable[..., Any], Dialect]] = {
    "packed": (
        packed,
        Dialect(
            storage="packed",
            layout="tokens heads size",
            causal_alignment="bottom right",
            arguments={
                "query_starts": "cu_seqlens_q",
                "key_starts": "cu_seqlens_k",
                "longest_query": "max_seqlen_q",
            },
        ),
    ),
    "paged": (
        paged,
        Dialect(
            storage="paged",
            page_size=16,
            causal_alignment="bottom right",
            arguments={"page_table": "block_table", "key_lengths": "cache_seqlens"},
            **LENGTH_FIRST,
        ),
    ),
    "packed, paged": (
        packed_on_pages,
        Dialect(
            storage="packed, paged",
            page_size=16,
            layout="tokens heads size",
            causal_alignment="bottom right",
            arguments={
                "query_starts": "cu_seqlens_q",
                "page_table": "block_table",
                "key_lengths": "seqused_k",
                "longest_query": "max_seqlen_q",
            },
        ),
    ),
    "buffer": (
        buffered,
        Dialect(
            storage="buffer",
            causal_alignment="bottom right",
            arguments={"key_lengths": "cache_seqlens"},
            **LENGTH_FIRST,
        ),
    ),
    "buffer with a mask": (
        masked_buffer,
        Dialect(storage="buffer", by_mask=["causal", "window", "key_lengths"], ranks=[4]),
    ),
    "one array of three": (
        stacked,
        Dialect(
            storage="one array",
            layout="batch length tensors heads size",
            ranks=[4],
            causal_alignment="top left",
        ),
    ),
    "one array of heads": (
        projected,
        Dialect(
            storage="one array",
            layout="batch length heads*size",
            ranks=[4],
            arguments={"heads": "num_heads", "kv_heads": "num_kv_heads"},
        ),
    ),
    "packed, one array of three": (
        packed_stacked,
        Dialect(
            storage="packed, one array",
            layout="tokens tensors heads size",
            causal_alignment="bottom right",
            arguments={"query_starts": "cu_seqlens", "longest_query": "max_seqlen"},
        ),
    ),
    "packed, one array of heads": (
        packed_projected,
        Dialect(
            storage="packed, one array",
            layout="tokens heads*size",
            causal_alignment="top left",
            arguments={"query_starts": "starts", "heads": "num_heads", "kv_heads": "num_kv_heads"},
        ),
    ),
}
"""Every right kernel with its dialect."""


class Mistake(NamedTuple):
    """A mistake in a right kernel: a passage, and what stands there instead."""

    name: str
    passage: str
    instead: str

    def planted(self) -> Callable[..., Any]:
        """Return the kernel with the mistake."""
        kernel = RIGHT[self.name][0]
        source = inspect.getsource(kernel)
        assert source.count(self.passage) == 1, self.passage
        names = dict(globals())
        exec(compile(source.replace(self.passage, self.instead), kernel.__name__, "exec"), names)
        return names[kernel.__name__]


WRONG = {
    "cumulative lengths are read one sequence too early": Mistake(
        "packed",
        "cu_seqlens_k[number], cu_seqlens_k[number + 1]",
        "cu_seqlens_k[number] - (number > 0), cu_seqlens_k[number + 1]",
    ),
    "the last key of each packed sequence is dropped": Mistake(
        "packed",
        "cu_seqlens_k[number], cu_seqlens_k[number + 1]",
        "cu_seqlens_k[number], max(cu_seqlens_k[number + 1] - 1, min(cu_seqlens_k[number] + 1, len(key)))",
    ),
    "packed queries are cut in equal parts": Mistake(
        "packed",
        "cu_seqlens_q[number], cu_seqlens_q[number + 1]",
        "(len(query) * (number + i) // (len(cu_seqlens_q) - 1) for i in (0, 1))",
    ),
    "the starts of keys are those of queries": Mistake(
        "packed", "start, end = cu_seqlens_k[number], cu_seqlens_k[number + 1]", "start, end = first, last"
    ),
    "every packed sequence but the last is missing": Mistake(
        "packed", "range(len(cu_seqlens_q) - 1)", "range(len(cu_seqlens_q) - 2, len(cu_seqlens_q) - 1)"
    ),
    "the page table is transposed": Mistake(
        "paged",
        "block_table[row, : -(-length // slots)]",
        "np.resize(block_table.T, block_table.shape)[row, : -(-length // slots)]",
    ),
    "the page table of the first row is that of all": Mistake("paged", "block_table[row,", "block_table[0,"),
    "pages are read in the order in which they lie": Mistake(
        "paged", "block_table[row, : -(-length // slots)]", "np.sort(block_table[row, : -(-length // slots)])"
    ),
    "the last partial page is dropped": Mistake(
        "paged",
        "reshape(-1, *each.shape[2:])[:length]",
        "reshape(-1, *each.shape[2:])[: max(length // slots * slots, 1)]",
    ),
    "stale slots of the last page are read": Mistake("paged", "[:length] for each", "[:] for each"),
    "values are read from the next page": Mistake(
        "paged",
        "(each[pages].reshape(-1, *each.shape[2:])[:length] for each in (key, value))",
        "(each[(pages + i) % len(each)].reshape(-1, *each.shape[2:])[:length] for i, each in enumerate((key, value)))",
    ),
    "the buffer is read to its end": Mistake(
        "buffer", "key[row, :length], value[row, :length]", "key[row], value[row]"
    ),
    "the longest length of the batch is that of all rows": Mistake(
        "buffer", "enumerate(cache_seqlens)", "enumerate(np.full_like(cache_seqlens, cache_seqlens.max()))"
    ),
    "the newest key of the buffer is not read": Mistake(
        "buffer",
        "key[row, :length], value[row, :length]",
        "key[row, : max(length - 1, 1)], value[row, : max(length - 1, 1)]",
    ),
    "the mask of a buffer is read from its end": Mistake(
        "buffer with a mask", "mask = np.broadcast_to(mask,", "mask = np.broadcast_to(mask[..., ::-1],"
    ),
    "key and value are exchanged": Mistake("one array of three", "row[:, 1], row[:, 2]", "row[:, 2], row[:, 1]"),
    "heads come before query, key and value": Mistake(
        "one array of heads",
        "num_heads + 2 * num_kv_heads, -1)",
        "-1, num_heads + 2 * num_kv_heads).swapaxes(2, 3)",
    ),
    "values begin after as many heads as the queries have": Mistake(
        "one array of heads", "row[:, second:]", "row[:, -num_kv_heads - 1 :][:, :num_kv_heads]"
    ),
    "the row of the page table is that of the next sequence": Mistake(
        "packed, paged", "block_table[number,", "block_table[(number + 1) % len(block_table),"
    ),
    "every sequence on pages has as many keys as the longest": Mistake(
        "packed, paged", "enumerate(seqused_k)", "enumerate(np.full_like(seqused_k, seqused_k.max()))"
    ),
    "packed queries on pages have no keys before the first of the chunk": Mistake(
        "packed, paged", "k, v, causal=causal", "k[first - last :], v[first - last :], causal=causal"
    ),
    "queries on pages begin where those of equal lengths would": Mistake(
        "packed, paged",
        "cu_seqlens_q[number], cu_seqlens_q[number + 1]",
        "(len(query) * (number + i) // len(seqused_k) for i in (0, 1))",
    ),
    "packed tokens in one array are one sequence": Mistake(
        "packed, one array of heads", "pairwise(starts)", "[(0, len(qkv))]"
    ),
    "sequences in one array have equal lengths": Mistake(
        "packed, one array of three",
        "pairwise(cu_seqlens)",
        "pairwise(np.linspace(0, len(qkv), len(cu_seqlens)).astype(int))",
    ),
    "the last tile of keys reaches into the next sequence": Mistake(
        "packed, one array of three",
        "one(query, key, value, causal=causal)",
        "one(query, *qkv[first : first + -(-(last - first) // 64) * 64, 1:].swapaxes(0, 1), causal=causal)",
    ),
    "keys of sequences in one array begin one token late": Mistake(
        "packed, one array of heads",
        "np.split(heads[first:last], [num_heads, num_heads + num_kv_heads], axis=1)",
        "np.split(np.roll(heads[first:last], -1, axis=0), [num_heads, num_heads + num_kv_heads], axis=1)",
    ),
}
"""Every mistake in the addressing of a kernel."""
