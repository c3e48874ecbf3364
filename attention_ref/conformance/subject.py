"""What is checked: functions on one kind of array, and what they say they do not support."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

OPERATIONS = ("attention", "additive_attention", "multiplicative_attention")
"""The operations that the specification defines."""


class Unsupported(Exception):  # noqa: N818 - it is an answer, not an error
    """Raised by a subject for what it does not offer. The case counts as unsupported: neither passed nor failed."""


class UsageError(ValueError):
    """A check that cannot be made: a name that does not exist, a choice that selects nothing."""


@dataclass(frozen=True)
class Subject:
    """An implementation that is checked.

    Arguments:
        name: what the report calls it.
        arrays: the kind of arrays that it takes and returns: `"numpy"`, `"torch"`, `"tensorflow"`, `"jax"`, or
            `"keras"` for the arrays of the engine that Keras runs on.
        operations: a function for each operation, `fn(query, key, value, *, mask=None, causal=False, ...)`, with the
            arguments and results of the function of that name in `attention_ref.spec`. An option that its signature
            lacks is unsupported, and so is what it raises `Unsupported` for.
        version: of the library that it belongs to.
        is_room: whether it is a backend of this library, which optional clauses bind too.
    """

    name: str
    arrays: str
    operations: Mapping[str, Callable[..., Any]]
    version: str = ""
    is_room: bool = False


def room(module: ModuleType, arrays: str, version: str) -> Subject:
    """Give a backend of this library as a subject, with every operation."""
    operations = {name: getattr(module, name) for name in OPERATIONS}
    return Subject(arrays, arrays, operations, version, is_room=True)


def options_of(function: Callable[..., Any]) -> frozenset[str] | None:
    """Give the names of the options that a function accepts beside query, key and value; None when it takes any."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # written in C, without a signature
        return None
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return None
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    positional = [parameter for parameter in parameters if parameter.kind is not parameter.KEYWORD_ONLY]
    return frozenset(parameter.name for parameter in parameters if parameter.kind in named) - {
        parameter.name for parameter in positional[:3]
    }
