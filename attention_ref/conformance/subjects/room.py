"""The backends of this library as subjects."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from types import ModuleType
from typing import Any

from attention_ref.conformance.frameworks import framework
from attention_ref.conformance.subjects.subject import Subject
from attention_ref.spec.operations import OPERATIONS


def room(module: ModuleType, arrays: str, version: str) -> Subject:
    """Return a backend of this library as a subject, with every operation."""
    operations = {
        name: _builder(module, name, arrays) if operation.is_layer else getattr(module, name)
        for name, operation in OPERATIONS.items()
    }
    closed_forms = vars(import_module(f"{module.__name__}.gradients")) if arrays == "numpy" else {}
    gradients = {name: closed_forms[f"{name}_gradients"] for name in OPERATIONS if f"{name}_gradients" in closed_forms}
    return Subject(arrays, arrays, operations, gradients, version=version, is_room=True)


def _builder(module: ModuleType, name: str, arrays: str) -> Callable[..., Any]:
    """Build a layer of a backend for inference; a Keras layer takes the dtype of its parameters."""

    def build(config: Any, parameters: Mapping[str, Any]) -> Any:
        options = {}
        if arrays == "keras":
            options["dtype"] = framework(arrays).dtype(next(iter(parameters.values())))
        layer = getattr(module, name)(config, parameters, **options)
        return layer.eval() if arrays == "torch" else layer

    return build
