"""Positions of queries and keys: read, counted, and how many of a cache's positions are filled."""

from __future__ import annotations

from typing import Any

from keras import ops

from attention_ref.keras._arrays import Array, integers, values


def one_or_each(given: Any) -> Any:
    """Return the integer that all batch rows share, where it can be read; otherwise one for each row `(b,)`."""
    array = integers(given)
    numbers = values(array)
    return numbers[0] if numbers and min(numbers) == max(numbers) else array


def unless_whole(memory: Any) -> Array | None:
    """Return the lengths of a cache; None if they can be read and no key is padding."""
    numbers, length = values(memory.lengths), ops.shape(memory.key)[2]
    return None if numbers is not None and min(numbers, default=length) == length else memory.lengths


def count_from(offset: Any, length: Any) -> Array:
    """Return `length` consecutive positions from an offset `(length,)`, or from each row's offset `(b,length)`."""
    count = ops.arange(length, dtype="int32")
    return offset + count if isinstance(offset, int) else offset[..., None] + count
