"""Arrays of every kind that a subject may take, made from NumPy arrays and read back, without losing anything.

Numbers come and go as float64, which holds every float32, float16 and bfloat16 exactly.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np

from attention_ref.conformance.errors import Unsupported, UsageError

KINDS = ("numpy", "torch", "tensorflow", "jax", "keras")


class Arrays(Protocol):
    """One kind of array."""

    name: str

    def make(self, values: np.ndarray, dtype: str) -> Any:
        """Make a new array of `dtype`; raise `Unsupported` for a dtype that this kind lacks."""

    def is_array(self, item: Any) -> bool:
        """Say whether something is an array of this kind."""

    def dtype(self, array: Any) -> str:
        """Give the name of an array's dtype, such as `bfloat16`."""

    def read(self, array: Any) -> np.ndarray:
        """Give the values: real numbers as float64, truth values and integers as they are."""


@cache
def arrays_of(kind: str) -> Arrays:
    """Give a kind of array by its name in `KINDS`.

    Raises:
        UsageError: for another name, and when the framework is not installed.
    """
    if kind not in KINDS:
        raise UsageError(f"there are no arrays {kind!r}; the kinds are {', '.join(KINDS)}")
    if find_spec(kind) is None:
        raise UsageError(f"arrays of {kind} need {kind}, which is not installed")
    makers: dict[str, Callable[[], Arrays]]
    makers = {"numpy": _NumPy, "torch": _Torch, "tensorflow": _TensorFlow, "jax": _Jax, "keras": _Keras}
    try:
        return makers[kind]()
    except ImportError as error:
        raise UsageError(f"arrays of {kind} are not to be had: {error}") from error


def numpy_dtype(name: str) -> np.dtype:
    """Give NumPy's dtype of a name; its bfloat16 comes from the package ml_dtypes."""
    if name != "bfloat16":
        return np.dtype(name)
    try:
        return np.dtype(import_module("ml_dtypes").bfloat16)
    except ModuleNotFoundError:
        raise Unsupported("NumPy has bfloat16 only with the package ml_dtypes") from None


def _widened(array: np.ndarray) -> np.ndarray:
    return array if array.dtype.kind in "biu" else array.astype(np.float64)


class _NumPy:
    name = "NumPy"

    def make(self, values: np.ndarray, dtype: str) -> Any:
        return values.astype(numpy_dtype(dtype))

    def is_array(self, item: Any) -> bool:
        return isinstance(item, np.ndarray)

    def dtype(self, array: Any) -> str:
        return str(array.dtype.name)

    def read(self, array: Any) -> np.ndarray:
        return _widened(np.array(array))


class _Torch:
    """Arrays are made on PyTorch's default device."""

    name = "torch"

    def __init__(self) -> None:
        self.torch = import_module("torch")

    def make(self, values: np.ndarray, dtype: str) -> Any:
        return self.torch.tensor(values, dtype=getattr(self.torch, dtype))

    def is_array(self, item: Any) -> bool:
        return isinstance(item, self.torch.Tensor)

    def dtype(self, array: Any) -> str:
        return str(array.dtype).removeprefix("torch.")

    def read(self, array: Any) -> np.ndarray:
        array = array.detach().cpu()
        return np.array((array.double() if array.is_floating_point() else array).numpy())


class _TensorFlow:
    name = "TensorFlow"

    def __init__(self) -> None:
        self.tensorflow = import_module("tensorflow")

    def make(self, values: np.ndarray, dtype: str) -> Any:
        return self.tensorflow.constant(values.astype(numpy_dtype(dtype)))

    def is_array(self, item: Any) -> bool:
        return isinstance(item, (self.tensorflow.Tensor, self.tensorflow.Variable))

    def dtype(self, array: Any) -> str:
        return str(array.dtype.name)

    def read(self, array: Any) -> np.ndarray:
        return _widened(np.array(array.numpy()))


class _Jax:
    name = "JAX"

    def __init__(self) -> None:
        self.jax = import_module("jax")

    def make(self, values: np.ndarray, dtype: str) -> Any:
        has_64_bits = self.jax.config.jax_enable_x64
        if dtype == "float64" and not has_64_bits:
            raise Unsupported("JAX has float64 only in 64-bit mode: set JAX_ENABLE_X64=1 before Python starts")
        narrowed = "int32" if dtype == "int64" and not has_64_bits else dtype
        return self.jax.numpy.asarray(values.astype(numpy_dtype(narrowed)))

    def is_array(self, item: Any) -> bool:
        return isinstance(item, self.jax.Array)

    def dtype(self, array: Any) -> str:
        return str(array.dtype.name)

    def read(self, array: Any) -> np.ndarray:
        return _widened(np.array(array))


def _Keras() -> Arrays:  # noqa: N802 - stands where the classes stand
    """The arrays of the engine that Keras runs on, on the device that Keras has chosen."""
    keras = import_module("keras")
    native = arrays_of(keras.backend.backend())

    class KerasArrays(type(native)):  # type: ignore[misc]
        def make(self, values: np.ndarray, dtype: str) -> Any:
            return keras.ops.convert_to_tensor(super().make(values, dtype))

    return KerasArrays()
