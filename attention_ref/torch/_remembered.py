"""Tables of cosines and sines, remembered because all layers of a model rotate by the same positions."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from attention_ref.spec.config import Rotary
from attention_ref.torch._arrays import Array, values

LARGEST = 2048
"""The largest number of positions that are remembered: for heads of 128 numbers, 8 pairs of tables of 1 MiB."""

Compute = Callable[[Array, int, Rotary, Array], tuple[Array, Array]]


def remembered(compute: Compute, positions: Array, dimension: int, config: Rotary, like: Array) -> tuple[Array, Array]:
    """Return cosines and sines of positions, from `compute` or from a call of it before."""
    is_on_cpu = positions.device.type == "cpu" == like.device.type
    numbers = values(positions) if is_on_cpu and positions.numel() <= LARGEST else None  # None in a compiled function
    if numbers is None:
        return compute(positions, dimension, config, like)
    try:
        cosine, sine = _tables(compute, tuple(numbers), tuple(positions.shape), dimension, config, like.dtype)
    except RuntimeError:  # within a transform of torch.func no tensor can be kept
        return compute(positions, dimension, config, like)
    return torch.from_numpy(cosine), torch.from_numpy(sine)


@functools.lru_cache(maxsize=8)
def _tables(
    compute: Compute,
    numbers: tuple[int, ...],
    shape: tuple[int, ...],
    dimension: int,
    config: Rotary,
    dtype: torch.dtype,
) -> tuple[np.ndarray[Any, Any], ...]:
    """Return the tables as arrays of NumPy, which no mode of PyTorch, such as inference mode, marks."""
    positions = torch.tensor(numbers, dtype=torch.int64, device="cpu").reshape(shape)
    tables = compute(positions, dimension, config, torch.empty(0, dtype=dtype, device="cpu"))
    return tuple(table.numpy() for table in tables)
