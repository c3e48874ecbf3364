"""Arrays with more keys: a trained key before the others, new ones behind those of a cache."""

from __future__ import annotations

from typing import Any

from keras import ops

from attention_ref.keras._arrays import Array, as_array


def put_before(array: Any, first: Any, keys: Array) -> Array | None:
    """Put one number for the trained key before each row of a mask or bias: `(...,k)` to `(...,k+1)`."""
    if array is None:
        return None
    array = as_array(array)
    array = ops.reshape(array, (1,)) if len(array.shape) == 0 else array
    array = ops.broadcast_to(array, (*ops.shape(array)[:-1], ops.shape(keys)[2]))
    before = ops.cast(ops.full((*ops.shape(array)[:-1], 1), first), array.dtype)
    return ops.concatenate([before, array], axis=-1)


def append(old: Array, new: Array, filled: Any) -> Array:
    """Write `new` after the first `filled` positions of `old`: `(b,g,p,d)` and `(b,g,t,d)` to `(b,g,p+t,d)`."""
    past, added = ops.shape(old)[2], ops.shape(new)[2]
    if isinstance(filled, int) and isinstance(past, int) and filled == past:
        return ops.concatenate([old, new], axis=2)
    count = ops.arange(past + added, dtype="int32")
    filled = ops.full((1, 1), filled, dtype="int32") if isinstance(filled, int) else filled[:, None]
    source = ops.where(count < filled, count, ops.minimum(count - filled + past, past + added - 1))  # (b,p+t)
    moved = ops.take_along_axis(ops.concatenate([old, new], axis=2), source[:, None, :, None], axis=2)
    is_filled = (count < filled + added)[:, None, :, None]  # (b,1,p+t,1)
    return ops.where(is_filled, moved, 0)
