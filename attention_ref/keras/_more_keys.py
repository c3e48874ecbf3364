"""Arrays with more keys: a trained key before the others, new ones behind those of a cache."""

from __future__ import annotations

from typing import Any

from keras import ops

from attention_ref.keras._arrays import Array, as_array, integers, values
from attention_ref.keras._places import one_or_each
from attention_ref.keras.caches import StaticCache, StaticLatentCache
from attention_ref.spec.state_checks import check_room


def put_before(array: Any, first: Any, keys: Array) -> Array | None:
    """Put one number for the trained key before each row of a mask or bias: `(...,k)` to `(...,k+1)`."""
    if array is None:
        return None
    array = as_array(array)
    array = ops.reshape(array, (1,)) if len(array.shape) == 0 else array
    array = ops.broadcast_to(array, (*ops.shape(array)[:-1], ops.shape(keys)[2]))
    before = ops.cast(ops.full((*ops.shape(array)[:-1], 1), first), array.dtype)
    return ops.concatenate([before, array], axis=-1)


def appended(operation: str, cache: Any, new: Any, kind: Any) -> Any:
    """Append new positions to the filled ones of a cache.

    Arguments:
        operation: the name to report.
        cache: of arrays `(b,g,p,_)`; a static one is filled.
        new: the same with `(b,g,t,_)`.
        kind: the class of a cache that grows.

    Raises:
        SpecificationError: when a static cache has no room.
    """
    filled, lengths = one_or_each(cache.lengths), integers(cache.lengths) + new.lengths
    pairs = [(getattr(cache, name), getattr(new, name)) for name in kind._fields[:-1]]
    if not is_static(cache):
        return kind(*(append(old, more, filled) for old, more in pairs), lengths)
    check_room(operation, values(lengths), cache.key.shape[2])
    return type(cache)(*(write(old, more, filled, new.lengths) for old, more in pairs), lengths)


def is_static(cache: Any) -> bool:
    """Return whether a cache is filled, in place of growing."""
    return isinstance(cache, (StaticCache, StaticLatentCache))


def length_after(cache: Any, added: Any) -> Any:
    """Return how many positions a cache, or None in its place, has after some are added."""
    if cache is None:
        return added
    past = ops.shape(cache.key)[2]
    return past if is_static(cache) else past + added


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


def write(old: Array, new: Array, filled: Any, added: Any) -> Array:
    """Return `old` with the first `added` positions of each row of `new` behind its filled ones:
    `(b,g,t,d)` into `(b,g,p,d)`. What has no room, if the numbers cannot be read, is not written.
    """
    count, length = one_or_each(added), new.shape[2]
    if length == 0:
        return old
    if isinstance(filled, int) and isinstance(count, int) and count == length:
        return ops.slice_update(old, (0, 0, filled, 0), ops.cast(new, old.dtype))
    starts, counts = (ops.reshape(integers(number), (-1, 1)) for number in (filled, count))  # (b,1) or (1,1)
    place = ops.arange(ops.shape(old)[2], dtype="int32")
    source = ops.clip(place - starts, 0, ops.shape(new)[2] - 1)  # (b,p)
    moved = ops.take_along_axis(new, source[:, None, :, None], axis=2)
    is_new = ops.logical_and(place >= starts, place < starts + counts)[:, None, :, None]  # (b,1,p,1)
    return ops.where(is_new, moved, old)
