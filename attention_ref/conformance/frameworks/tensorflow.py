"""TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import numpy as np

from attention_ref.conformance.frameworks.interface import Framework, Function, numpy_dtype


class TensorFlow(Framework):
    """Tensors of TensorFlow."""

    name = "TensorFlow"
    short = "tf"
    calls_by_head = (
        "tf.vectorized_map(lambda row: tf.vectorized_map(lambda one: {name}(*one), row), (query, key, value))",
    )

    def __init__(self) -> None:
        self.module = import_module("tensorflow")

    def make(self, values: np.ndarray, dtype: str) -> Any:
        return self.module.constant(values.astype(numpy_dtype(dtype)))

    def is_array(self, item: Any) -> bool:
        return isinstance(item, (self.module.Tensor, self.module.Variable))

    def differentiate(self, function: Function, inputs: Mapping[str, Any], cotangents: Sequence[Any]) -> dict[str, Any]:
        leaves = dict(inputs)
        with self.module.GradientTape() as tape:
            tape.watch(leaves)
            outputs = list(function(leaves))
        zero = self.module.UnconnectedGradients.ZERO
        return dict(tape.gradient(outputs, leaves, output_gradients=list(cotangents), unconnected_gradients=zero))

    def read(self, array: Any) -> np.ndarray:
        return super().read(array.numpy())

    def constant(self, values: np.ndarray, beside: Any) -> Any:
        return self.module.constant(values)

    def cast(self, array: Any, like: Any) -> Any:
        return self.module.cast(array, like.dtype)

    def concatenate(self, arrays: Sequence[Any], axis: int) -> Any:
        return self.module.concat(list(arrays), axis=axis)

    def take(self, array: Any, indices: Sequence[int], axis: int) -> Any:
        return self.module.gather(array, np.array(indices, np.int64), axis=axis)

    def logical_not(self, array: Any) -> Any:
        return self.module.math.logical_not(array)

    def logical_and(self, first: Any, second: Any) -> Any:
        return self.module.math.logical_and(first, second)
