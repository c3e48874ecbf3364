"""Keras."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

import numpy as np

from attention_ref.conformance.errors import UsageError
from attention_ref.conformance.frameworks.interface import Framework
from attention_ref.conformance.frameworks.jax import Jax
from attention_ref.conformance.frameworks.numpy import NumPy
from attention_ref.conformance.frameworks.tensorflow import TensorFlow
from attention_ref.conformance.frameworks.torch import Torch

ENGINES: Mapping[str, Callable[[], Framework]] = {
    "tensorflow": TensorFlow,
    "jax": Jax,
    "torch": Torch,
    "numpy": NumPy,
}
"""What Keras can run on."""


def keras_framework() -> Framework:
    """Return the framework that Keras runs on, with arrays made on the device that Keras has chosen."""
    module = import_module("keras")
    engine = ENGINES[module.backend.backend()]

    class Keras(engine):  # type: ignore[misc, valid-type]
        short = "keras"
        calls_by_head = ('keras.ops.vectorize({name}, signature="(q,d),(k,d),(k,v)->(q,v)")(query, key, value)',)

        def use(self, device: str) -> None:
            raise UsageError(f"a device is chosen for torch and jax only; Keras chooses its own, not {device}")

        def make(self, values: np.ndarray, dtype: str) -> Any:
            return module.ops.convert_to_tensor(super().make(values, dtype))

    return Keras()
