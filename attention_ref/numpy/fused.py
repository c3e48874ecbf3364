"""Attention in tiles of queries and keys, in memory linear in their lengths.

The softmax is taken along the way: when the scores of a further tile of keys raise the maximum `m` of a row to `m'`,
what was summed up so far is multiplied by `exp(m - m')`. A tile in which no key is visible is never computed.

Sources: Milakov and Gimelshein, "Online normalizer calculation for softmax" (2018); Dao, "FlashAttention-2" (2023),
section 3.1.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from attention_ref.numpy import _threads
from attention_ref.numpy._arrays import Array, Arrays, widen
from attention_ref.numpy._at_once import attend_at_once, fits_at_once
from attention_ref.numpy._softmax import RunningSoftmax
from attention_ref.numpy._tiles import KEYS, QUERIES, Head, Heads, Scale, part
from attention_ref.spec.shapes import Sizes

Piece = tuple[tuple[int, ...], range]
"""The batch row and head of a piece of the work, and where its tiles of queries start."""

_WORTH_THREADS = 2**25
"""With fewer multiplications than this a second thread costs more than it saves."""


def supports(arrays: Arrays, options: Mapping[str, Any]) -> bool:
    """Say whether a call can be computed in tiles: always, but where its weights are asked for."""
    return arrays["query"].size > 0 and not options["return_weights"]


def attention(arrays: Arrays, sizes: Sizes, options: Mapping[str, Any]) -> list[Array] | None:
    """Compute a checked call of attention.

    Arguments:
        arrays: as they were given.
        sizes: of the call.
        options: of the call.

    Returns:
        The output `(b,h,q,v)` and, where asked for, the log-sum-exp `(b,h,q)`; None where a NaN or an infinity turns
        up, for then it matters which products with a weight of 0 are left out.
    """
    attend = attend_at_once if fits_at_once(sizes) else _attend_in_tiles
    return attend(arrays, sizes, options)


def _attend_in_tiles(arrays: Arrays, sizes: Sizes, options: Mapping[str, Any]) -> list[Array] | None:
    """Compute a call head by head and tile by tile; arguments and results as in `attention`."""
    heads, scale, query = Heads(arrays, sizes, options), Scale.of(sizes, options), arrays["query"]
    output = np.empty((*sizes.scores[:-1], sizes.value_size), query.dtype)
    log_sums = np.empty(sizes.scores[:-1], widen(query[..., :0]).dtype)

    @np.errstate(all="ignore")  # a thread does not inherit what its caller ignores
    def attend(piece: Piece) -> bool:
        index, starts = piece
        head, scratch = heads.head(index), np.empty(QUERIES * KEYS, log_sums.dtype)
        for start in starts:
            queries = slice(start, min(start + QUERIES, sizes.query_length))
            found, sums = _attend_tile(head, queries, scale, options["dropout"], scratch)
            is_empty = np.isneginf(sums)
            is_regular = np.isfinite(found).all() and (np.isfinite(sums) | is_empty).all()
            if not is_regular or (is_empty.any() and head.sees_any(queries)[is_empty].any()):
                return False
            output[index][queries], log_sums[index][queries] = found, sums
        return True

    pieces, threads = _pieces(sizes)
    if not _threads.run(attend, pieces, threads):
        return None
    return [output, log_sums] if options["return_log_sum_exp"] else [output]


def _attend_tile(head: Head, queries: slice, scale: Scale, dropout: float, scratch: Array) -> tuple[Array, Array]:
    """Let the queries of a tile attend: output `(q,v)` and log-sum-exp `(q,)`."""
    rows = scale.queries(head.query[queries])
    largest = math.inf if head.bias is not None else scale.largest(rows, head.key[head.visible_range(queries)])
    softmax = RunningSoftmax(len(rows), head.value.shape[-1], largest, rows.dtype)
    for keys in head.visible_tiles(queries):
        scores = scale.scores(rows, head.key[keys], scratch)
        head.add_bias_and_hide(scores, queries, keys)
        softmax.add(scores, head.value[keys], part(head.dropout_mask, queries, keys))
    return softmax.finish(head.sink, dropout)


def _pieces(sizes: Sizes) -> tuple[list[Piece], int]:
    """Share out the heads, or parts of their queries where threads outnumber heads; and count the threads."""
    work = math.prod(sizes.scores) * (sizes.head_size + sizes.value_size)
    threads = _threads.thread_count() if work >= _WORTH_THREADS else 1
    indices = list(itertools.product(*map(range, (*sizes.batch, sizes.heads))))
    parts = math.ceil(threads / max(len(indices), 1))
    step = max(1, math.ceil(sizes.query_length / QUERIES / parts)) * QUERIES
    pieces = [
        (index, range(start, min(start + step, sizes.query_length), QUERIES))
        for index in indices
        for start in range(0, sizes.query_length, step)
    ]
    return pieces, threads
