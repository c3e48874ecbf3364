"""Arrays with more keys: a trained key before the others, new ones behind those of a cache."""

from __future__ import annotations

from typing import Any

import numpy as np

from attention_ref.numpy._arrays import Array, values
from attention_ref.numpy._places import integers, one_or_each
from attention_ref.numpy.caches import StaticCache, StaticLatentCache
from attention_ref.spec.state_checks import check_room


def put_before(array: Any, first: Any, keys: Array) -> Array | None:
    """Put one number for the trained key before each row of a mask or bias: `(...,k)` to `(...,k+1)`."""
    if array is None:
        return None
    array = np.atleast_1d(array)
    array = np.broadcast_to(array, (*array.shape[:-1], keys.shape[2]))
    return np.concatenate([np.full((*array.shape[:-1], 1), first, array.dtype), array], axis=-1)


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
    past = cache.key.shape[2]
    return past if is_static(cache) else past + added


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


def write(old: Array, new: Array, filled: Any, added: Any) -> Array:
    """Write the first `added` positions of each row of `new` behind the filled ones of `old`, in place:
    `(b,g,t,d)` into `(b,g,p,d)`.
    """
    count = one_or_each(added)
    if isinstance(filled, int) and isinstance(count, int):
        old[:, :, filled : filled + count] = new[:, :, :count]
        return old
    batch = len(old)
    for row, (start, number) in enumerate(zip(_each(filled, batch), _each(count, batch), strict=True)):
        old[row, :, start : start + number] = new[row, :, :number]
    return old


def _each(number: Any, batch: int) -> list[int]:
    """Return the integer of every batch row."""
    return [number] * batch if isinstance(number, int) else number.tolist()
