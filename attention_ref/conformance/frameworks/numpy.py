"""NumPy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from attention_ref.conformance.errors import Unsupported
from attention_ref.conformance.frameworks.interface import Framework, Function, numpy_dtype


class NumPy(Framework):
    """Arrays of NumPy, which has no automatic differentiation."""

    name = "NumPy"
    module = np
    shares_memory = True
    differentiates = False
    short = "np"
    calls_by_head = (
        'np.vectorize({name}, signature="(q,d),(k,d),(k,v)->(q,v)")(query, key, value)',
        'np.vectorize(lambda *one: np.array({name}(*one)), signature="(q,d),(k,d),(k,v)->(q,v)")(query, key, value)',
    )

    def make(self, values: np.ndarray, dtype: str) -> Any:
        return values.astype(numpy_dtype(dtype))

    def is_array(self, item: Any) -> bool:
        return isinstance(item, np.ndarray)

    def wrap(self, stored: np.ndarray, dtype: str) -> Any:
        return stored.view(numpy_dtype(dtype))

    def is_plain(self, item: Any) -> bool:
        return type(item) is np.ndarray

    def differentiate(self, function: Function, inputs: Mapping[str, Any], cotangents: Sequence[Any]) -> dict[str, Any]:
        raise Unsupported("NumPy has no automatic differentiation: pass a function that returns the gradients too")
