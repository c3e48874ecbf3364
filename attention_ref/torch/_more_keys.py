"""Arrays with more keys: a trained key before the others, new ones behind those of a cache."""

from __future__ import annotations

from typing import Any

import torch

from attention_ref.spec.state_checks import check_room
from attention_ref.torch._arrays import Array, as_array, values
from attention_ref.torch._places import one_or_each
from attention_ref.torch.caches import StaticCache, StaticLatentCache


def put_before(array: Any, first: Any, keys: Array) -> Array | None:
    """Put one number for the trained key before each row of a mask or bias: `(...,k)` to `(...,k+1)`."""
    if array is None:
        return None
    array = torch.atleast_1d(as_array(array, keys.device))
    array = array.expand(*array.shape[:-1], keys.shape[2])
    return torch.cat([array.new_full((*array.shape[:-1], 1), first), array], dim=-1)


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
    filled, lengths = one_or_each(cache.lengths, new.lengths.device), cache.lengths.long() + new.lengths
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
        return torch.cat([old, new], dim=2)
    count = torch.arange(past + added, device=new.device)
    filled = torch.full((1, 1), filled, device=new.device) if isinstance(filled, int) else filled[:, None]
    source = torch.where(count < filled, count, (count - filled + past).clamp(max=past + added - 1))  # (b,p+t)
    moved = torch.take_along_dim(torch.cat([old, new], dim=2), source[:, None, :, None], dim=2)
    is_filled = (count < filled + added)[:, None, :, None]  # (b,1,p+t,1)
    return torch.where(is_filled, moved, 0)


def write(old: Array, new: Array, filled: Any, added: Any) -> Array:
    """Write the first `added` positions of each row of `new` behind the filled ones of `old`, in place:
    `(b,g,t,d)` into `(b,g,p,d)`.
    """
    count = one_or_each(added, old.device)
    if isinstance(filled, int) and isinstance(count, int):
        old[:, :, filled : filled + count] = new[:, :, :count]
        return old
    batch, starts, counts = len(old), filled, count
    if not all(isinstance(number, int) or values(number) is not None for number in (filled, count)):
        return _write_unread(old, new, filled, count)
    for row, (start, number) in enumerate(zip(_each(starts, batch), _each(counts, batch), strict=True)):
        old[row, :, start : start + number] = new[row, :, :number]
    return old


def _write_unread(old: Array, new: Array, filled: Any, added: Any) -> Array:
    """Write as `write` does where the numbers cannot be read; what has no room is not written."""
    if not new.shape[2]:
        return old
    starts, counts = (torch.as_tensor(number, device=old.device).reshape(-1, 1) for number in (filled, added))
    place = torch.arange(old.shape[2], device=old.device)
    source = (place - starts).clamp(0, new.shape[2] - 1)  # (b,p)
    moved = torch.take_along_dim(new, source[:, None, :, None], dim=2)
    is_new = ((place >= starts) & (place < starts + counts))[:, None, :, None]  # (b,1,p,1)
    return old.copy_(torch.where(is_new, moved, old))


def _each(number: Any, batch: int) -> list[int]:
    """Return the integer of every batch row."""
    return [number] * batch if isinstance(number, int) else number.tolist()
