"""Wrappers that make a function callable as attention is: written as code, which is run before it is shown."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from attention_ref.conformance.conventions import CONSTANTS, NAMES, role, signature
from attention_ref.conformance.frameworks import framework
from attention_ref.conformance.plain_call import DISTINCT, SQUARE, Shape
from attention_ref.conformance.preflight.preflight_error import WRAPPER
from attention_ref.spec.operations import ATTENTION

_SIZES = ("{query}.shape[-1]", "{query}.shape[-1] ** 0.5", "{query}.shape[-1] ** -0.5", "None", "0.0", "False", "True")
"""What an argument of unknown meaning may be."""
_MOST_UNKNOWN = 1
"""How many arguments of unknown meaning are tried: the values are multiplied."""


@dataclass(frozen=True)
class Wrapper:
    """A wrapper of a function.

    Arguments:
        sentence: why the function takes it, and what to do in the function itself.
        code: the definition of `checked`.
        causal: whether it is right with `causal=True` only.
        shapes: the sizes of which one must be right.
        imports: the modules of the code, by the names that it has for them.
    """

    sentence: str
    code: str
    causal: bool = False
    shapes: tuple[Shape, ...] = (DISTINCT, SQUARE)
    imports: Mapping[str, str] = field(default_factory=dict)

    def around(self, function: Callable[..., Any], name: str) -> Callable[..., Any]:
        """Return the wrapper around a function, by running its code."""
        namespace = {name: function, **{short: import_module(module) for short, module in self.imports.items()}}
        exec(self.code, namespace)  # noqa: S102 - code of this file, with the names of a signature
        return namespace[WRAPPER]  # type: ignore[return-value]


def wrappers(function: Callable[..., Any], name: str, kind: str) -> Iterator[Wrapper]:
    """Return the wrappers that may make a function right, the most ordinary first."""
    yield from _with_required(function, name)
    if not _required(function):
        yield from _weights_alone(function, name)
        yield from _always_causal(name)
        yield from _of_one_head(name, kind)


def _positional(function: Callable[..., Any]) -> list[inspect.Parameter]:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [each for each in signature(function) or () if each.kind in kinds]


def _required(function: Callable[..., Any]) -> list[str]:
    """Return the arguments that a function requires beside its first three."""
    first = [each.name for each in _positional(function)[:3]]
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    every = [each for each in signature(function) or () if each.kind not in kinds]
    return [each.name for each in every if each.default is each.empty and each.name not in first]


def _with_required(function: Callable[..., Any], name: str) -> Iterator[Wrapper]:
    """Return wrappers that pass values for the arguments that a function requires beside three arrays."""
    required, positional = _required(function), _positional(function)
    unknown = [each for each in required if not _usual(each)]
    if not required or len(positional) < 3 or len(unknown) > _MOST_UNKNOWN or "self" in (required[0], positional[0]):
        return
    tensors = [each.name for each in positional[:3]]
    query = next((each for each in tensors if role(each) == "query"), tensors[0])
    for values in itertools.product(*(_usual(each) or _SIZES for each in required)):
        given = {each: value.format(query=query) for each, value in zip(required, values, strict=True)}
        yield Wrapper(_requires(name, given), _definition(function, name, tensors, given))


def _usual(name: str) -> tuple[str, ...]:
    """Return the values for which attention is plain, of an argument whose name is known."""
    if name in CONSTANTS:
        return (repr(CONSTANTS[name]),)
    option = role(name) or name
    if option == "causal":
        return ("False",)
    return ("None", "True") if option in ATTENTION.options and option != "scale" else ()


def _requires(name: str, given: dict[str, str]) -> str:
    arguments = f"argument{'s' * (len(given) > 1)} {', '.join(given)}"
    values = ", ".join(f"{each}={value}" for each, value in given.items())
    is_default = all(value in ("None", "False", "True", "0.0") for value in given.values())
    what = f"give {'them' if len(given) > 1 else 'it'} a default, such as" if is_default else "it is right with"
    return f"{name} requires the {arguments}, and attention is called as {name}(query, key, value): {what} {values}"


def _definition(function: Callable[..., Any], name: str, tensors: list[str], given: dict[str, str]) -> str:
    """Write a function with the options of another, that passes on all but what is given."""
    kept = [each for each in signature(function) or () if _is_option(each.name) and each.name not in tensors]
    options = {each.name: given.get(each.name, repr(each.default)) for each in kept}
    passed = {each: each if each in options else value for each, value in given.items()} | {n: n for n in options}
    parameters = ", ".join([*tensors, *(f"{each}={default}" for each, default in options.items())])
    arguments = ", ".join([*tensors, *(f"{each}={value}" for each, value in passed.items())])
    return f"def {WRAPPER}({parameters}):\n    return {name}({arguments})"


def _is_option(name: str) -> bool:
    known = (*ATTENTION.options, *(alias for aliases in NAMES.values() for alias in aliases))
    return name in known and name not in CONSTANTS


def _weights_alone(function: Callable[..., Any], name: str) -> Iterator[Wrapper]:
    """Return the wrapper of a function of query and key that returns the weights."""
    if len(_positional(function)) == 2:
        sentence = f"{name} returns the weights softmax(q k^T / sqrt(d)) alone: let it take the value too and multiply"
        yield Wrapper(sentence, f"def {WRAPPER}(query, key, value):\n    return {name}(query, key) @ value")


def _always_causal(name: str) -> Iterator[Wrapper]:
    """Return wrappers of a function that hides later keys in every call."""
    sentence = (
        f"{name} hides the later keys in every call, as with causal=True: give it an argument causal=False, and hide "
        "them only where it is True"
    )
    for condition, shape in (("not causal", DISTINCT), ("not causal or query.shape != key.shape", SQUARE)):
        lines = (
            f"def {WRAPPER}(query, key, value, *, causal=False):",
            f"    if {condition}:",
            f'        raise NotImplementedError("{name} is always causal")',
            f"    return {name}(query, key, value)",
        )
        yield Wrapper(sentence, "\n".join(lines), causal=True, shapes=(shape,))


def _of_one_head(name: str, kind: str) -> Iterator[Wrapper]:
    """Return wrappers of a function of two axes, length and size."""
    sentence = (
        f"{name} is right for arrays of one head, (length, size): let it take (batch, heads, length, size), or call it "
        "for every batch row and head"
    )
    arrays = framework(kind)
    for call in arrays.calls_by_head:
        code = f"def {WRAPPER}(query, key, value):\n    return {call.format(name=name)}"
        yield Wrapper(sentence, code, imports={arrays.short: kind})
