"""The interface of an array framework: make and read arrays, move their numbers, differentiate.

Numbers come and go as float64, which represents every float32, float16 and bfloat16 exactly. Moving is done by the
framework itself, so that it can differentiate through it, and changes no number.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

import numpy as np

from attention_ref.conformance.errors import Unsupported, UsageError

Function = Callable[[Mapping[str, Any]], Sequence[Any]]


class Framework(ABC):
    """An array framework. Moving is as in a module with NumPy's functions, `module`, where nothing else is said.

    Attributes:
        name: the name in messages.
        module: the framework's functions.
        shares_memory: whether `wrap` returns arrays on the memory that it is given.
        differentiates: whether it has automatic differentiation.
        overwrites: whether its arrays can be overwritten where they lie.
        compiles: whether the first call with arrays of other shapes takes long, because it compiles.
        short: the name under which its users import it, as in `calls_by_head`.
        calls_by_head: expressions that call a function of one head, `(q,d)`, for every batch row and head.
    """

    name: str
    module: Any
    shares_memory = False
    differentiates = True
    overwrites = False
    compiles = False
    short: str
    calls_by_head: tuple[str, ...] = ()

    @abstractmethod
    def make(self, values: np.ndarray, dtype: str) -> Any:
        """Make a new array of `dtype`; raise `Unsupported` for a dtype that the framework lacks."""

    @abstractmethod
    def is_array(self, item: Any) -> bool:
        """Return whether something is an array of the framework."""

    @abstractmethod
    def differentiate(self, function: Function, inputs: Mapping[str, Any], cotangents: Sequence[Any]) -> dict[str, Any]:
        """Return the gradients of `sum(cotangent * output)` by automatic differentiation.

        Arguments:
            function: maps the inputs to a list of outputs.
            inputs: arrays by name.
            cotangents: one for each output.

        Returns:
            The gradient of every input by its name; 0 where the outputs do not depend on it.
        """

    def computes_after_fork(self) -> bool:
        """Return whether a copy of this process could compute."""
        return True

    def use(self, device: str) -> None:
        """Make arrays on a device from now on.

        Raises:
            UsageError: where there is no such device, or no choice of one.
        """
        raise UsageError(f"a device is chosen for torch and jax only, not for {self.name}")

    def overwrite(self, array: Any, other: Any) -> None:
        """Copy the contents of another array to where an array lies."""
        raise NotImplementedError

    def wrap(self, stored: np.ndarray, dtype: str) -> Any:
        """Return an array on the memory of one of NumPy with the bits of `dtype`; a copy where it shares no memory."""
        return self.make(stored, dtype)

    def is_plain(self, item: Any) -> bool:
        """Return whether something is an array of the framework itself, and of no class derived from it."""
        return self.is_array(item)

    def read(self, array: Any) -> np.ndarray:
        """Return a copy of the values: real numbers as float64, booleans and integers as they are."""
        values = np.array(array)
        return values if values.dtype.kind in "biu" else values.astype(np.float64)

    def dtype(self, array: Any) -> str:
        """Return the name of an array's dtype, such as `bfloat16`."""
        return str(array.dtype.name)

    def is_traced(self, array: Any) -> bool:
        """Return whether an array is symbolic: its values are not known yet."""
        return False

    def constant(self, values: np.ndarray, beside: Any) -> Any:
        """Make an array of the dtype that the values have, on the device of another array."""
        return self.module.asarray(values)

    def cast(self, array: Any, like: Any) -> Any:
        """Convert to the dtype of another array."""
        return array.astype(like.dtype)

    def transpose(self, array: Any, axes: Sequence[int]) -> Any:
        """Reorder the axes."""
        return self.module.transpose(array, tuple(axes))

    def reshape(self, array: Any, shape: Sequence[int]) -> Any:
        """Change the shape, in row-major order."""
        return self.module.reshape(array, tuple(shape))

    def broadcast(self, array: Any, shape: Sequence[int]) -> Any:
        """Repeat along axes of size 1."""
        return self.module.broadcast_to(array, tuple(shape))

    def concatenate(self, arrays: Sequence[Any], axis: int) -> Any:
        """Join arrays along an axis."""
        return self.module.concatenate(list(arrays), axis=axis)

    def take(self, array: Any, indices: Sequence[int], axis: int) -> Any:
        """Select indices along an axis."""
        return self.module.take(array, self.constant(np.array(indices, np.int64), array), axis=axis)

    def logical_not(self, array: Any) -> Any:
        """Negate booleans."""
        return self.module.logical_not(array)

    def logical_and(self, first: Any, second: Any) -> Any:
        """Return True where both are."""
        return self.module.logical_and(first, second)

    def where(self, condition: Any, array: Any, number: float) -> Any:
        """Replace an array by a number where the condition does not hold."""
        return self.module.where(condition, array, self.scalar(number, array))

    def scalar(self, number: float, like: Any) -> Any:
        """Make an array without axes, with the dtype and on the device of another array."""
        return self.cast(self.constant(np.array(number), like), like)


def numpy_dtype(name: str) -> np.dtype:
    """Return NumPy's dtype of a name; bfloat16 comes from the package ml_dtypes.

    Raises:
        Unsupported: for bfloat16 without ml_dtypes.
    """
    if name != "bfloat16":
        return np.dtype(name)
    try:
        return np.dtype(import_module("ml_dtypes").bfloat16)
    except ModuleNotFoundError:
        raise Unsupported("NumPy has bfloat16 only with the package ml_dtypes") from None
