"""Our side: the models of a room, taking and giving NumPy arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

import numpy as np

from attention_ref.conformance import room as subject_of
from attention_ref.conformance.frameworks import framework
from attention_ref.conformance.frameworks.interface import Framework

KINDS = {"b": "bool", "i": "int64"}


def in_room(name: str, dtype: str = "float64") -> Callable[[Any, Mapping[str, np.ndarray]], InRoom]:
    """Return the function that builds a room's model from a configuration and parameters."""
    build = subject_of(import_module(f"attention_ref.{name}"), name, "").operations["Transformer"]
    arrays = framework(name)
    return lambda config, parameters: InRoom(build(config, _made(dict(parameters), arrays, dtype)), arrays, dtype)


class InRoom:
    """A model of a room whose calls and methods take and give NumPy arrays; a cache is handed on as it is."""

    def __init__(self, model: Any, arrays: Framework, dtype: str) -> None:
        self._model = model
        self._arrays = arrays
        self._dtype = dtype

    def __call__(self, *given: Any, **options: Any) -> Any:
        return self._call(self._model, given, options)

    def __getattr__(self, name: str) -> Any:
        return lambda *given, **options: self._call(getattr(self._model, name), given, options)

    def _call(self, method: Callable[..., Any], given: tuple[Any, ...], options: dict[str, Any]) -> Any:
        made = [_made(item, self._arrays, self._dtype) for item in given]
        returned = method(*made, **_made(options, self._arrays, self._dtype))
        if options.get("return_cache"):
            array, cache = returned
            return self._arrays.read(array), cache
        return self._arrays.read(returned)


def _made(item: Any, arrays: Framework, dtype: str) -> Any:
    if isinstance(item, dict):
        return {name: _made(value, arrays, dtype) for name, value in item.items()}
    return arrays.make(item, KINDS.get(item.dtype.kind, dtype)) if isinstance(item, np.ndarray) else item
