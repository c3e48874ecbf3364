"""Causal mask and window as one rule: key `j` is visible to query `i` iff `lowest <= j - i <= highest`."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from attention_ref.numpy._arrays import Array
from attention_ref.spec.masks import Window

_INT64 = np.iinfo(np.int64)


class Band(NamedTuple):
    """The visible diagonals `j - i`; each bound is `()` or one for each batch row `(b,)`."""

    lowest: Array
    highest: Array


def band(causal: bool, query_offset: Array, window: Window | None) -> Band:
    """Return the visible diagonals of causal mask and window: `query_offset - left <= j - i <= query_offset + right`.

    The causal mask is a `right` of 0. A bound that overflows int64 is clipped, which hides the same keys.
    """
    offset = query_offset.astype(np.int64)
    left, right = window or (None, None)
    if causal:
        right = 0
    lowest, highest = np.full_like(offset, _INT64.min), np.full_like(offset, _INT64.max)
    if left is not None:
        lowest = np.maximum(offset, _INT64.min + int(left)) - int(left)
    if right is not None:
        highest = np.minimum(offset, _INT64.max - int(right)) + int(right)
    return Band(lowest, highest)


def inside(band: Band, query_length: int, key_length: int) -> Array:
    """Return which keys each query sees: boolean `(q,k)`, or `(b,1,q,k)` with bounds for each batch row."""
    diagonals = np.arange(key_length) - np.arange(query_length)[:, None]  # (q,k)
    lowest, highest = (bound[..., None, None, None] if bound.ndim else bound for bound in band)  # (b,1,1,1)
    return (lowest <= diagonals) & (diagonals <= highest)
