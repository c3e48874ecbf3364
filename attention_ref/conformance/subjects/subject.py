"""What is checked: functions on one kind of array, and what they say they do not support."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from attention_ref.conformance.timeouts import TIMEOUT
from attention_ref.spec.operations import OPERATIONS

if TYPE_CHECKING:
    from attention_ref.conformance.case import Case
    from attention_ref.conformance.dialects.dialect import Dialect
    from attention_ref.conformance.outcome import Answer


@dataclass(frozen=True)
class Subject:
    """An implementation that is checked.

    Arguments:
        name: what the report calls it.
        arrays: the kind of arrays that it takes and returns: `"numpy"`, `"torch"`, `"tensorflow"`, `"jax"`, or
            `"keras"` for the arrays of the engine that Keras runs on.
        operations: a function for each operation, `fn(query, key, value, *, mask=None, causal=False, ...)`, with the
            arguments and results of the function of that name in `attention_ref.spec`; for a layer a function
            `build(config, parameters)` that gives what is called. An option that its signature lacks is unsupported,
            and so is what it raises `Unsupported` for.
        gradients: a function for operations whose gradients the arrays' framework cannot find, or finds otherwise:
            `fn(query, key, value, *, cotangent, mask=None, ...)` gives the gradients of `sum(cotangent * output)` by
            the names of the inputs. The kit differentiates the others through PyTorch, TensorFlow or JAX.
        claims: profiles that it says it supports: what is unsupported in them is a failure.
        version: of the library that it belongs to.
        is_room: whether it is a backend of this library, which optional clauses bind too.
        dialect: that its attention was adapted from; what it says of a clause is shown where that clause fails.
        timeout: how many seconds a call may take; None: as long as it takes.
        ask: gives the answer to a case in a dtype, for what is not called in this process; then `arrays` only says how
            the arrays come, and of `operations` only the names are read.
    """

    name: str
    arrays: str
    operations: Mapping[str, Callable[..., Any]]
    gradients: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    claims: tuple[str, ...] = ()
    version: str = ""
    is_room: bool = False
    dialect: Dialect | None = None
    timeout: float | None = TIMEOUT
    ask: Callable[[Case, str], Answer] | None = None


def room(module: ModuleType, arrays: str, version: str) -> Subject:
    """Give a backend of this library as a subject, with every operation."""
    operations = {
        name: _builder(module, name, arrays) if operation.is_layer else getattr(module, name)
        for name, operation in OPERATIONS.items()
    }
    closed_forms = vars(import_module(f"{module.__name__}.gradients")) if arrays == "numpy" else {}
    gradients = {name: closed_forms[f"{name}_gradients"] for name in OPERATIONS if f"{name}_gradients" in closed_forms}
    return Subject(arrays, arrays, operations, gradients, version=version, is_room=True)


def _builder(module: ModuleType, name: str, arrays: str) -> Callable[..., Any]:
    """Build a layer of a backend for inference; a Keras layer is told the dtype of its parameters."""

    def build(config: Any, parameters: Mapping[str, Any]) -> Any:
        options = {}
        if arrays == "keras":
            from attention_ref.conformance.frameworks import framework  # it needs this module

            options["dtype"] = framework(arrays).dtype(next(iter(parameters.values())))
        layer = getattr(module, name)(config, parameters, **options)
        return layer.eval() if arrays == "torch" else layer

    return build


def name_of(function: Callable[..., Any]) -> str:
    """Give the name of a function, or of the class of what else is called."""
    return str(getattr(function, "__name__", type(function).__name__))


def signed(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give what has the signature of a call: a layer of PyTorch or Keras takes anything and hands it on."""
    for name in ("call", "forward"):
        if callable(method := getattr(function, name, None)):
            return method
    return function


def options_of(function: Callable[..., Any], arguments: int = 3) -> frozenset[str] | None:
    """Give the names of the options that a function accepts beside its first arguments; None when it takes any."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # written in C, without a signature
        return None
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return None
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    positional = [parameter for parameter in parameters if parameter.kind is not parameter.KEYWORD_ONLY]
    return frozenset(parameter.name for parameter in parameters if parameter.kind in named) - {
        parameter.name for parameter in positional[:arguments]
    }
