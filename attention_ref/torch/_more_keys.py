"""Arrays with more keys: a trained key before the others, new ones behind those of a cache."""

from __future__ import annotations

from typing import Any

import torch

from attention_ref.torch._arrays import Array, as_array


def put_before(array: Any, first: Any, keys: Array) -> Array | None:
    """Put one number for the trained key before each row of a mask or bias: `(...,k)` to `(...,k+1)`."""
    if array is None:
        return None
    array = torch.atleast_1d(as_array(array, keys.device))
    array = array.expand(*array.shape[:-1], keys.shape[2])
    return torch.cat([array.new_full((*array.shape[:-1], 1), first), array], dim=-1)


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
