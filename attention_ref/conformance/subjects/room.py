"""The backends of this library as subjects."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from types import ModuleType
from typing import Any

from attention_ref.conformance.frameworks import framework
from attention_ref.conformance.subjects.subject import Subject
from attention_ref.spec.operations import OPERATIONS

_WITH_ATTENTION = ("MultiHeadAttention", "LatentAttention", "Block", "Transformer")
"""The layers that take an implementation."""


def room(module: ModuleType, arrays: str, version: str, implementation: str = "auto") -> Subject:
    """Return a backend of this library as a subject, with every operation.

    Arguments:
        module: the backend.
        arrays: its name, and the array type.
        version: of its framework.
        implementation: the path of its attention.

    Example:
        >>> room(attention_ref.numpy, "numpy", np.__version__).name
        'numpy'
    """
    name = arrays if implementation == "auto" else f"{arrays}:{implementation}"
    chosen = {"implementation": implementation}
    operations = {
        name: _builder(module, name, arrays, chosen) if operation.is_layer else getattr(module, name)
        for name, operation in OPERATIONS.items()
    }
    closed_forms = vars(import_module(f"{module.__name__}.gradients")) if arrays == "numpy" else {}
    gradients = {name: closed_forms[f"{name}_gradients"] for name in OPERATIONS if f"{name}_gradients" in closed_forms}
    for functions in (operations, gradients):
        if implementation != "auto" and "attention" in functions:
            functions["attention"] = partial(functions["attention"], **chosen)
    return Subject(name, arrays, operations, gradients, version=version, is_room=True)


def _builder(module: ModuleType, name: str, arrays: str, chosen: Mapping[str, str]) -> Callable[..., Any]:
    """Build a layer of a backend for inference; a Keras layer takes the dtype of its parameters."""

    def build(config: Any, parameters: Mapping[str, Any]) -> Any:
        options: dict[str, Any] = dict(chosen) if name in _WITH_ATTENTION else {}
        if arrays == "keras":
            options["dtype"] = framework(arrays).dtype(next(iter(parameters.values())))
        layer = getattr(module, name)(config, parameters, **options)
        return layer.eval() if arrays == "torch" else layer

    return build
