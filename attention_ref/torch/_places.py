"""Positions of queries and keys: read, counted, and how many of a cache's positions are filled."""

from __future__ import annotations

from typing import Any

import torch

from attention_ref.torch._arrays import Array, as_array, values


def integers(given: Any, device: torch.device) -> Array:
    """Convert integers to int64, so that they can be added."""
    return as_array(given, device).long()


def one_or_each(given: Any, device: torch.device) -> Any:
    """Return the integer that all batch rows share, where it can be read; otherwise one for each row `(b,)`."""
    array = integers(given, device)
    numbers = values(array)
    return numbers[0] if numbers and min(numbers) == max(numbers) else array


def unless_whole(memory: Any) -> Array | None:
    """Return the lengths of a cache; None if they can be read and no key is padding."""
    numbers, length = values(memory.lengths), memory.key.shape[2]
    return None if numbers is not None and min(numbers, default=length) == length else memory.lengths


def count_from(offset: Any, length: int, device: torch.device) -> Array:
    """Return `length` consecutive positions from an offset `(length,)`, or from each row's offset `(b,length)`."""
    count = torch.arange(length, device=device)
    return offset + count if isinstance(offset, int) else offset[..., None] + count
