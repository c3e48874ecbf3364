"""An online softmax over tiles of keys, and the sums that it weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from attention_ref.numpy._arrays import Array
from attention_ref.numpy._tiles import Head, Scale, part


class Attended(NamedTuple):
    """The result of attention for a tile of queries.

    sums: the weighted sums `(q,v)`, 0 for a row without a visible key.
    log_sums: the log-sum-exp `(q,)`, -inf for such a row.
    maximum, total: the `m` and the sum of `exp(s - m)` of every row, `(q,1)`; 0 and 1 for such a row.
    """

    sums: Array
    log_sums: Array
    maximum: Array
    total: Array


def attend(head: Head, queries: slice, scale: Scale, scratch: Array) -> Attended | None:
    """Compute attention of a tile of queries to a head, without the division by `1 - dropout`; None as in
    `weigh_tiles`.
    """
    rows = scale.queries(head.query[queries])
    largest = math.inf if head.bias is not None else scale.largest(rows, head.key[head.visible_range(queries)])
    softmax = RunningSoftmax(len(rows), head.value.shape[-1], largest, rows.dtype)
    return weigh_tiles(head, queries, scale, scratch, softmax, lambda weights, keys: weights @ head.value[keys])


def weigh_tiles(
    head: Head,
    queries: slice,
    scale: Scale,
    scratch: Array,
    softmax: RunningSoftmax,
    weigh: Callable[[Array, slice], Array],
) -> Attended | None:
    """Compute the online softmax of some queries over the tiles of keys that they may see.

    Arguments:
        weigh: returns the terms of the sums for unnormalised weights `(q,k)`, after dropout, and their keys.

    Returns:
        The results; None if a NaN or an infinity occurs.
    """
    rows = scale.queries(head.query[queries])
    for keys in head.visible_tiles(queries):
        exponentials = scale.scores(rows, head.key[keys], scratch)
        head.add_bias_and_hide(exponentials, queries, keys)
        softmax.add(exponentials)
        kept = part(head.dropout_mask, queries, keys)
        if kept is not None:
            exponentials *= kept
        softmax.sums += weigh(exponentials, keys)
    attended = softmax.finish(head.sink)
    is_empty = np.isneginf(attended.log_sums)
    is_regular = np.isfinite(attended.sums).all() and (is_empty | np.isfinite(attended.log_sums)).all()
    if not is_regular or (is_empty.any() and head.sees_any(queries)[is_empty].any()):  # every visible score is -inf
        return None
    return attended


class RunningSoftmax:
    """The sums of `exp(s - m)`, and the sums weighted by it, over the keys so far; `m` is the largest score so far.

    Arguments:
        rows: the number of queries.
        columns: the number of weighted sums for each query.
        largest: an upper bound of the absolute value of visible scores. If its `exp` loses no precision, `m` stays 0,
            and neither the maximum nor the subtraction is computed.
        dtype: of the arithmetic.
    """

    def __init__(self, rows: int, columns: int, largest: float, dtype: np.dtype[Any]) -> None:
        self.is_shifted = not largest <= -math.log(np.finfo(dtype).eps)
        self.maximum = np.full((rows, 1), -np.inf if self.is_shifted else 0, dtype)
        self.total = np.zeros((rows, 1), dtype)
        self.sums = np.zeros((rows, columns), dtype)

    def add(self, scores: Array) -> None:
        """Add the scores of a tile `(q,k)`, -inf where hidden, and overwrite them by `exp(s - m)`."""
        if self.is_shifted:
            self._shift(np.max(scores, axis=1, keepdims=True))
            scores -= self._finite_maximum()
        np.exp(scores, out=scores)
        self.total += np.einsum("qk->q", scores)[:, None]

    def finish(self, sink: float | None) -> Attended:
        """Add the sink to the denominator, and divide by it."""
        is_empty = self.total == 0
        if sink is not None:
            self._shift(np.full_like(self.maximum, sink))
            self.total += np.exp(sink - self._finite_maximum())
        maximum, total = np.where(is_empty, 0, self.maximum), np.where(is_empty, 1, self.total)
        log_sums = np.where(is_empty, -np.inf, maximum + np.log(total))
        return Attended(self.sums / total, log_sums[:, 0], maximum, total)

    def _shift(self, maximum: Array) -> None:
        """Raise the maximum of every row to at least `maximum`."""
        before, self.maximum = self.maximum, np.maximum(self.maximum, maximum)
        decay = np.exp(before - self._finite_maximum())
        self.total *= decay
        self.sums *= decay

    def _finite_maximum(self) -> Array:
        """Return the maximum, 0 for rows without a visible key so far, because `-inf - -inf` is NaN."""
        return np.where(np.isneginf(self.maximum), 0, self.maximum)
