"""Tables of cosines and sines, remembered because all layers of a model rotate by the same positions."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from attention_ref.numpy._arrays import Array
from attention_ref.spec.config import Rotary

LARGEST = 2048
"""The largest number of positions that are remembered: for heads of 128 numbers, 8 pairs of tables of 1 MiB."""

Compute = Callable[[Array, int, Rotary, Array], tuple[Array, Array]]


def remembered(compute: Compute, positions: Array, dimension: int, config: Rotary, like: Array) -> tuple[Array, Array]:
    """Return cosines and sines of positions, from `compute` or from a call of it before."""
    if positions.size > LARGEST:
        return compute(positions, dimension, config, like)
    return _tables(compute, positions.tobytes(), positions.shape, dimension, config, like.dtype)


@functools.lru_cache(maxsize=8)
def _tables(
    compute: Compute, numbers: bytes, shape: tuple[int, ...], dimension: int, config: Rotary, dtype: np.dtype[Any]
) -> tuple[Array, Array]:
    """Return tables that cannot be written, for calls share them."""
    positions = np.frombuffer(numbers, np.int64).reshape(shape)
    tables = compute(positions, dimension, config, np.empty(0, dtype))
    for table in tables:
        table.flags.writeable = False
    return tables
