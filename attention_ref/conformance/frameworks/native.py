"""The few operations on arrays of any kind that translating a call needs: they move numbers, and change none.

Everything is done by the array's own framework, so that it can differentiate what passes through.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np


class Native:
    """The operations of a framework that follows NumPy's names: NumPy, JAX."""

    def __init__(self, module: str) -> None:
        self.module: Any = import_module(module)

    def transpose(self, array: Any, axes: Sequence[int]) -> Any:
        """Reorder the axes."""
        return self.module.transpose(array, tuple(axes))

    def reshape(self, array: Any, shape: Sequence[int]) -> Any:
        """Fold and unfold axes."""
        return self.module.reshape(array, tuple(shape))

    def broadcast(self, array: Any, shape: Sequence[int]) -> Any:
        """Repeat along axes of size 1."""
        return self.module.broadcast_to(array, tuple(shape))

    def take(self, array: Any, places: Sequence[int], axis: int) -> Any:
        """Reorder what stands along an axis."""
        return self.module.take(array, self.make(np.array(places), array), axis=axis)

    def invert(self, array: Any) -> Any:
        """Exchange True and False."""
        return self.module.logical_not(array)

    def both(self, first: Any, second: Any) -> Any:
        """Combine truth values: True where both are."""
        return self.module.logical_and(first, second)

    def where(self, condition: Any, array: Any, number: float) -> Any:
        """Put a number where the condition does not hold."""
        return self.module.where(condition, array, self.cast(self.make(np.array(number), array), array))

    def cast(self, array: Any, like: Any) -> Any:
        """Convert to the dtype of another array."""
        return array.astype(like.dtype)

    def make(self, values: np.ndarray, like: Any) -> Any:  # noqa: ARG002 - PyTorch needs it for the device
        """Make an array beside another one."""
        return self.module.asarray(values)

    def zeros(self, like: Any) -> Any:
        """Give a zero without axes, of the dtype of another array."""
        return self.cast(self.make(np.array(0.0), like), like)


class _Torch(Native):
    def transpose(self, array: Any, axes: Sequence[int]) -> Any:
        return array.permute(tuple(axes))

    def take(self, array: Any, places: Sequence[int], axis: int) -> Any:
        return array.index_select(axis, self.make(np.array(places), array))

    def where(self, condition: Any, array: Any, number: float) -> Any:
        return self.module.where(condition, array, number)

    def cast(self, array: Any, like: Any) -> Any:
        return array.to(like.dtype)

    def make(self, values: np.ndarray, like: Any) -> Any:
        return self.module.tensor(values, device=like.device)


class _TensorFlow(Native):
    def take(self, array: Any, places: Sequence[int], axis: int) -> Any:
        return self.module.gather(array, list(places), axis=axis)

    def invert(self, array: Any) -> Any:
        return self.module.math.logical_not(array)

    def both(self, first: Any, second: Any) -> Any:
        return self.module.math.logical_and(first, second)

    def cast(self, array: Any, like: Any) -> Any:
        return self.module.cast(array, like.dtype)

    def make(self, values: np.ndarray, like: Any) -> Any:  # noqa: ARG002
        return self.module.constant(values)


def native_of(array: Any) -> Native:
    """Give the operations on the kind of array that something is; what no framework claims is left to NumPy."""
    module = type(array).__module__.partition(".")[0]
    if module == "torch":
        return _Torch("torch")
    if module == "tensorflow":
        return _TensorFlow("tensorflow")
    return Native("jax.numpy" if module in ("jax", "jaxlib") else "numpy")


def values_of(array: Any) -> np.ndarray:
    """Give numbers that are to be looked at."""
    if type(array).__module__.partition(".")[0] != "torch":
        return np.asarray(array)
    array = array.detach().cpu()
    return np.asarray(array.double() if array.is_floating_point() else array)


def is_traced(array: Any) -> bool:
    """Say whether there are no numbers to look at: JAX differentiates and compiles without them."""
    return "Tracer" in type(array).__name__


def dtype_of(array: Any) -> str:
    """Give the name of an array's dtype, such as `bfloat16`."""
    return str(getattr(array.dtype, "name", array.dtype)).removeprefix("torch.")
