"""Causal mask and window as one rule: key `j` is visible to query `i` iff `lowest <= j - i <= highest`."""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from attention_ref.keras._arrays import Array, describe, torch_compiles
from attention_ref.spec.masks import Window

_INT32 = np.iinfo(np.int32)


class Band(NamedTuple):
    """The visible diagonals `j - i`; each bound is `()` or one for each batch row `(b,)`, or None if open.

    Bounds are NumPy arrays of int64, because JAX has no int64 outside its 64-bit mode; tensors if the offset is a
    tensor.
    """

    lowest: Any
    highest: Any


def band(causal: bool, query_offset: Any, window: Window | None) -> Band:
    """Return the visible diagonals of causal mask and window: `query_offset - left <= j - i <= query_offset + right`.

    The causal mask is a `right` of 0. A bound that overflows its dtype is clipped, which hides the same keys.
    """
    left, right = window or (None, None)
    if causal:
        right = 0
    if torch_compiles():
        return _clipped(query_offset, left, right)
    is_number = isinstance(query_offset, np.ndarray)
    xp, offset = (np, query_offset.astype(np.int64)) if is_number else (ops, _widest(query_offset))
    dtype = describe(offset).dtype
    limits = np.iinfo(dtype)
    lowest = highest = None
    if left is not None:
        left = np.asarray(min(int(left), limits.max), dtype)
        lowest = xp.maximum(offset, limits.min + left) - left
    if right is not None:
        right = np.asarray(min(int(right), limits.max), dtype)
        highest = xp.minimum(offset, limits.max - right) + right
    return Band(lowest, highest)


def _clipped(offset: Array, left: int | None, right: int | None) -> Band:
    """Return the band of offsets and distances below 2^62: PyTorch's compiler cannot look into NumPy's numbers."""
    largest = 2**62 - 1
    offset = ops.clip(ops.cast(offset, "int64"), -largest, largest)
    lowest = None if left is None else offset - min(int(left), largest)
    return Band(lowest, None if right is None else offset + min(int(right), largest))


def inside(band: Band, diagonals: Array) -> Array | None:
    """Return which diagonals are visible: boolean `(q,k)`, or `(b,1,q,k)` with bounds for each batch row."""
    visible = None
    if band.lowest is not None:
        visible = _compare(ops.greater_equal, diagonals, band.lowest)
    if band.highest is not None:
        rule = _compare(ops.less_equal, diagonals, band.highest)
        visible = rule if visible is None else ops.logical_and(visible, rule)
    return visible


def diagonals(query_length: Any, key_length: Any, shift: Any = 0) -> Array:
    """Return `j - i + shift`, int32 `(q,k)`."""
    return ops.arange(key_length, dtype="int32") - ops.arange(query_length, dtype="int32")[:, None] + shift


def _compare(compare: Any, diagonals: Array, bound: Any) -> Array:
    if isinstance(bound, (np.ndarray, np.generic)):
        bound = ops.convert_to_tensor(np.clip(bound, _INT32.min, _INT32.max).astype(np.int32))
    bound = bound[..., None, None, None] if len(bound.shape) else bound  # (b,1,1,1)
    return compare(ops.cast(diagonals, describe(bound).dtype), bound)


def _widest(offset: Array) -> Array:
    """Return integers as int64, or int32 on a JAX engine outside its 64-bit mode."""
    is_wide = keras.config.backend() != "jax" or describe(offset).dtype == "int64"
    return ops.cast(offset, "int64" if is_wide else "int32")
