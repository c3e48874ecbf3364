"""The name of a function or layer, the type of what it returns, and the options that its signature accepts."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any


def name_of(function: Callable[..., Any]) -> str:
    """Return the name of a function, or of the class of any other callable."""
    return str(getattr(function, "__name__", type(function).__name__))


def type_text(item: Any) -> str:
    """Describe the type of something, and the length of a sequence."""
    if isinstance(item, (tuple, list)):
        return f"a {type(item).__name__} of {len(item)}"
    return "None" if item is None else f"a {type(item).__module__}.{type(item).__qualname__}"


def signed(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the method whose signature applies: `forward` or `call` for a layer of PyTorch or Keras."""
    for name in ("call", "forward"):
        if callable(method := getattr(function, name, None)):
            return method
    return function


def options_of(function: Callable[..., Any], arguments: int = 3) -> frozenset[str] | None:
    """Return the names of the options that a function accepts beside its first arguments; None if it accepts any."""
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
