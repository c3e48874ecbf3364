"""Attention in tiles of queries and keys, with memory linear in the lengths.

The softmax is computed online: when the scores of the next tile of keys raise the maximum `m` of a row to `m'`, the
sums so far are multiplied by `exp(m - m')`. A tile without a visible key is skipped.

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
from attention_ref.numpy._softmax import attend
from attention_ref.numpy._tiles import KEYS, QUERIES, Heads, Scale
from attention_ref.spec.shapes import Sizes

Piece = tuple[tuple[int, ...], range]
"""A part of the work: the batch row and head, and the first query of each tile."""


def supports(arrays: Arrays, options: Mapping[str, Any]) -> bool:
    """Return whether a call can be computed in tiles: if it is not empty and does not request weights."""
    return arrays["query"].size > 0 and not options["return_weights"]


def attention(arrays: Arrays, sizes: Sizes, options: Mapping[str, Any]) -> list[Array] | None:
    """Compute a checked call of attention.

    Arguments:
        arrays: the arguments, as `check_call` returns them.
        sizes: of the call.
        options: of the call.

    Returns:
        The output `(b,h,q,v)` and, if requested, the log-sum-exp `(b,h,q)`; None if a NaN or an infinity occurs,
        because the formula must then leave out products with a weight of 0.
    """
    compute = attend_at_once if fits_at_once(sizes) else _attend_in_tiles
    return compute(arrays, sizes, options)


def _attend_in_tiles(arrays: Arrays, sizes: Sizes, options: Mapping[str, Any]) -> list[Array] | None:
    """Compute a call head by head and tile by tile; arguments and results as in `attention`."""
    heads, scale, query = Heads(arrays, sizes, options), Scale.of(sizes, options), arrays["query"]
    output = np.empty((*sizes.scores[:-1], sizes.value_size), query.dtype)
    log_sums = np.empty(sizes.scores[:-1], widen(query[..., :0]).dtype)

    @np.errstate(all="ignore")  # a thread does not inherit the error state of its caller
    def attend_piece(piece: Piece) -> bool:
        index, starts = piece
        head, scratch = heads.head(index), np.empty(QUERIES * KEYS, log_sums.dtype)
        for start in starts:
            queries = slice(start, min(start + QUERIES, sizes.query_length))
            found = attend(head, queries, scale, scratch)
            if found is None:
                return False
            output[index][queries] = found.sums / (1 - options["dropout"]) if options["dropout"] else found.sums
            log_sums[index][queries] = found.log_sums
        return True

    pieces, threads = _pieces(sizes)
    if not _threads.run(attend_piece, pieces, threads):
        return None
    return [output, log_sums] if options["return_log_sum_exp"] else [output]


def _pieces(sizes: Sizes) -> tuple[list[Piece], int]:
    """Divide the work by heads, and heads by queries if there are more threads than heads; return the number of threads
    too.
    """
    threads = _threads.threads_for(math.prod(sizes.scores) * (sizes.head_size + sizes.value_size))
    indices = list(itertools.product(*map(range, (*sizes.batch, sizes.heads))))
    parts = math.ceil(threads / max(len(indices), 1))
    step = max(1, math.ceil(sizes.query_length / QUERIES / parts)) * QUERIES
    pieces = [
        (index, range(start, min(start + step, sizes.query_length), QUERIES))
        for index in indices
        for start in range(0, sizes.query_length, step)
    ]
    return pieces, threads
