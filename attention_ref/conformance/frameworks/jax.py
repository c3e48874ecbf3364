"""JAX."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import numpy as np

from attention_ref.conformance.errors import Unsupported, UsageError
from attention_ref.conformance.frameworks.interface import Framework, Function, numpy_dtype


class Jax(Framework):
    """Arrays of JAX."""

    name = "JAX"
    compiles = True
    short = "jax"
    calls_by_head = ("jax.vmap(jax.vmap({name}))(query, key, value)",)

    def __init__(self) -> None:
        self.jax = import_module("jax")
        self.module = self.jax.numpy

    def make(self, values: np.ndarray, dtype: str) -> Any:
        has_64_bits = self.jax.config.jax_enable_x64
        if dtype == "float64" and not has_64_bits:
            raise Unsupported("JAX has float64 only in 64-bit mode: set JAX_ENABLE_X64=1 before Python starts")
        narrowed = "int32" if dtype == "int64" and not has_64_bits else dtype
        return self.module.asarray(values.astype(numpy_dtype(narrowed)))

    def computes_after_fork(self) -> bool:
        bridge = import_module("jax._src.xla_bridge")  # no public function says so
        return not getattr(bridge, "backends_are_initialized", lambda: True)()

    def use(self, device: str) -> None:
        try:
            found = self.jax.devices(device)
        except RuntimeError as error:
            raise UsageError(f"jax has no device {device}: {str(error).splitlines()[0]}") from None
        self.jax.config.update("jax_default_device", found[0])

    def is_array(self, item: Any) -> bool:
        return isinstance(item, self.jax.Array)

    def differentiate(self, function: Function, inputs: Mapping[str, Any], cotangents: Sequence[Any]) -> dict[str, Any]:
        _, pull_back = self.jax.vjp(lambda leaves: list(function(leaves)), dict(inputs))
        return dict(pull_back(list(cotangents))[0])

    def is_traced(self, array: Any) -> bool:
        return isinstance(array, self.jax.core.Tracer)
