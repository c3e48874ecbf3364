"""Positions of queries and keys: read, counted, and how many of a cache's positions are filled."""

from __future__ import annotations

from typing import Any

import numpy as np

from attention_ref.numpy._arrays import Array, values


def integers(given: Any) -> Array:
    """Convert integers to int64, so that they can be added."""
    return np.asarray(given).astype(np.int64)


def one_or_each(given: Any) -> Any:
    """Return the integer that all batch rows share; otherwise one for each row `(b,)`."""
    array = integers(given)
    numbers = values(array)
    return numbers[0] if numbers and min(numbers) == max(numbers) else array


def unless_whole(memory: Any) -> Array | None:
    """Return the lengths of a cache; None if no key is padding."""
    numbers, length = values(memory.lengths), memory.key.shape[2]
    return None if min(numbers, default=length) == length else memory.lengths


def count_from(offset: Any, length: int) -> Array:
    """Return `length` consecutive positions from an offset `(length,)`, or from each row's offset `(b,length)`."""
    count = np.arange(length)
    return offset + count if isinstance(offset, int) else offset[..., None] + count
