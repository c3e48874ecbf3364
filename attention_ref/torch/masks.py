"""Which key a query may attend to. True means that it may.

A key is visible when every rule allows it: `mask` and `causal` and `window` and `key_lengths` and `bias > -inf`.
`attention_ref.spec.masks` says how other libraries differ.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import torch

from attention_ref.spec.masks import Window
from attention_ref.spec.shapes import check_key_lengths
from attention_ref.torch._arrays import Array, as_array, describe, device_of, values


def causal_mask(query_length: int, key_length: int, *, query_offset: Any = 0) -> Array:
    """Let query `i` see key `j` iff `j <= i + query_offset`.

    Arguments:
        query_length: q.
        key_length: k.
        query_offset: the position of the first query among the keys, an integer or one for each batch row `(b,)`.
            A cache of P keys before the queries means P; `k - q` aligns the last query with the last key.

    Returns:
        Boolean `(q,k)`, or `(b,1,q,k)` with one offset for each batch row.
    """
    return _distances(query_length, key_length, query_offset) <= 0


def window_mask(query_length: int, key_length: int, window: Window, *, query_offset: Any = 0) -> Array:
    """Let query `i` see key `j` iff `-left <= j - (i + query_offset) <= right`.

    Arguments:
        query_length: q.
        key_length: k.
        window: `(left, right)`, how many keys before and after its own position a query sees beside that position
            itself; None is no limit.
        query_offset: as in `causal_mask`.

    Returns:
        Boolean `(q,k)`, or `(b,1,q,k)` with one offset for each batch row.
    """
    left, right = window
    distances = _distances(query_length, key_length, query_offset)
    visible = torch.ones_like(distances, dtype=torch.bool)
    if left is not None:
        visible = visible & (distances >= -int(left))
    if right is not None:
        visible = visible & (distances <= int(right))
    return visible


def length_mask(key_lengths: Any, key_length: int) -> Array:
    """Let every query of a batch row see key `j` iff `j < key_lengths`.

    Arguments:
        key_lengths: how many keys are real in each batch row, integers `(b,)` from 0 to k.
        key_length: k.

    Returns:
        Boolean `(b,1,1,k)`.

    Raises:
        SpecificationError: for lengths that are not integers from 0 to k.
    """
    key_lengths = as_array(key_lengths)
    check_key_lengths("length_mask", describe(key_lengths), values(key_lengths), key_length)
    return torch.arange(key_length, device=key_lengths.device) < key_lengths[..., None, None, None]


def visible_keys(
    shape: Sequence[int],
    *,
    mask: Any = None,
    bias: Any = None,
    causal: bool = False,
    query_offset: Any = 0,
    window: Window | None = None,
    key_lengths: Any = None,
) -> Array:
    """Give the visibility of every key to every query: all rules at once.

    Arguments:
        shape: `(b,h,q,k)`; any number of leading batch sizes.
        mask: boolean, broadcasts to `shape`; True where a query may attend.
        bias: numbers, broadcasts to `shape`; a key whose bias is -inf is not visible.
        causal, query_offset: see `causal_mask`.
        window: see `window_mask`.
        key_lengths: see `length_mask`.

    Returns:
        Boolean `(b,h,q,k)`.
    """
    query_length, key_length = shape[-2:]
    device = device_of(mask, bias, query_offset, key_lengths)
    query_offset = as_array(query_offset, device)
    rules = [torch.ones(shape, dtype=torch.bool, device=device)]
    if mask is not None:
        rules.append(as_array(mask, device))
    if bias is not None:
        rules.append(as_array(bias, device) != -math.inf)
    if causal:
        rules.append(causal_mask(query_length, key_length, query_offset=query_offset))
    if window is not None:
        rules.append(window_mask(query_length, key_length, window, query_offset=query_offset))
    if key_lengths is not None:
        rules.append(length_mask(as_array(key_lengths, device), key_length))
    return functools.reduce(torch.logical_and, rules)


def _distances(query_length: int, key_length: int, query_offset: Any) -> Array:
    """Give `j - (i + query_offset)`: `(q,k)`, or `(b,1,q,k)` with one offset for each batch row."""
    query_offset = as_array(query_offset).long()
    positions = torch.arange(query_length, device=query_offset.device) + query_offset[..., None]  # (q,) or (b,q)
    distances = torch.arange(key_length, device=query_offset.device) - positions[..., None]  # (q,k) or (b,q,k)
    return distances[..., None, :, :] if query_offset.ndim else distances
