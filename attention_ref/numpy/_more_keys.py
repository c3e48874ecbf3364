"""Arrays with more keys: a trained key before the others, new ones behind those of a cache."""

from __future__ import annotations

from typing import Any

import numpy as np

from attention_ref.numpy._arrays import Array


def put_before(array: Any, first: Any, keys: Array) -> Array | None:
    """Put one number for the trained key before each row of a mask or bias: `(...,k)` to `(...,k+1)`."""
    if array is None:
        return None
    array = np.atleast_1d(array)
    array = np.broadcast_to(array, (*array.shape[:-1], keys.shape[2]))
    return np.concatenate([np.full((*array.shape[:-1], 1), first, array.dtype), array], axis=-1)


def append(old: Array, new: Array, filled: Any) -> Array:
    """Write `new` after the first `filled` positions of `old`: `(b,g,p,d)` and `(b,g,t,d)` to `(b,g,p+t,d)`."""
    past, added = old.shape[2], new.shape[2]
    if isinstance(filled, int) and filled == past:
        return np.concatenate([old, new], axis=2)
    count = np.arange(past + added)
    filled = np.full((1, 1), filled) if isinstance(filled, int) else filled[:, None]
    source = np.where(count < filled, count, np.minimum(count - filled + past, past + added - 1))  # (b,p+t)
    moved = np.take_along_axis(np.concatenate([old, new], axis=2), source[:, None, :, None], axis=2)
    is_filled = (count < filled + added)[:, None, :, None]  # (b,1,p+t,1)
    return np.where(is_filled, moved, np.zeros_like(moved))
