"""Causal mask and window as one rule: key `j` is visible to query `i` iff `lowest <= j - i <= highest`."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from attention_ref.spec.masks import Window
from attention_ref.spec.shapes import LARGEST_INTEGER, SMALLEST_INTEGER
from attention_ref.torch._arrays import Array


class Band(NamedTuple):
    """The visible diagonals `j - i`; each bound is an integer, one for each batch row `(b,)`, or None if open."""

    lowest: Any
    highest: Any


def band(causal: bool, query_offset: Any, window: Window | None) -> Band:
    """Return the visible diagonals of causal mask and window: `query_offset - left <= j - i <= query_offset + right`.

    The causal mask is a `right` of 0. A bound that overflows int64 is clipped, which hides the same keys.
    """
    left, right = window or (None, None)
    if causal:
        right = 0
    offset = query_offset.long() if isinstance(query_offset, Array) else query_offset
    lowest = None if left is None else _at_least(offset, SMALLEST_INTEGER + int(left)) - int(left)
    highest = None if right is None else _at_most(offset, LARGEST_INTEGER - int(right)) + int(right)
    return Band(lowest, highest)


def inside(band: Band, query_length: int, key_length: int, device: torch.device | None) -> Array:
    """Return which keys each query sees: boolean `(q,k)`, or `(b,1,q,k)` with bounds for each batch row."""
    lowest, highest = (_aligned(bound) for bound in band)
    queries = torch.arange(query_length, device=device)[:, None]  # (q,1)
    diagonals = torch.arange(key_length, device=device) - queries  # (q,k)
    if lowest is None:
        return torch.ones_like(diagonals, dtype=torch.bool) if highest is None else diagonals <= highest
    return diagonals >= lowest if highest is None else (diagonals >= lowest) & (diagonals <= highest)


def _at_least(offset: Any, least: int) -> Any:
    return torch.clamp(offset, min=least) if isinstance(offset, Array) else max(offset, least)


def _at_most(offset: Any, most: int) -> Any:
    return torch.clamp(offset, max=most) if isinstance(offset, Array) else min(offset, most)


def _aligned(bound: Any) -> Any:
    """Append axes for heads, queries and keys to a bound: `(b,)` to `(b,1,1,1)`."""
    return bound[..., None, None, None] if isinstance(bound, Array) and bound.ndim else bound
