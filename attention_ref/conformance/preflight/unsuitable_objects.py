"""Objects that are not functions of three arrays: modules, classes, layers with weights, and absent devices."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from attention_ref.conformance.preflight.preflight_error import PreflightError
from attention_ref.conformance.signatures import name_of

_DEVICE = ("cuda", "nvidia", "gpu", "same device", "on device", "triton", "no kernel image")
"""Words of the errors that are raised where a device is missing."""
_SUBJECTS: Mapping[tuple[str, str], str] = {
    ("torch", "MultiheadAttention"): "torch.mha",
    ("torch", "TransformerEncoderLayer"): "torch.encoder_layer",
    ("keras", "MultiHeadAttention"): "keras.mha",
    ("keras", "GroupedQueryAttention"): "keras.gqa",
    ("keras", "Attention"): "keras.attention",
    ("keras_hub", "TransformerEncoder"): "keras_hub",
}
"""The subject that checks a class of a released library, by its package and name."""
_SOME = 4
"""How many names a sentence lists."""


def require_callable(function: Any, name: str = "") -> None:
    """Reject an object that cannot be called, such as a module.

    Raises:
        PreflightError: with the names of the functions of a module.
    """
    name = name or str(getattr(function, "__name__", type(function).__name__))
    if inspect.ismodule(function):
        found = _functions(function)
        first = f"{name} is a module, not a function"
        if not found:
            raise PreflightError(f"{first}, and has no function of its own")
        raise PreflightError(f"{first}: check a function in it, such as {name}:{found[0]}; it has {_some(found)}")
    if not callable(function):
        raise PreflightError(f"{name} is not callable, it is of type {type(function).__name__}: check a function")


def _functions(module: ModuleType) -> list[str]:
    """Return the names of the functions and callable objects of a module, those called after attention first."""
    items = {name: item for name, item in vars(module).items() if name[0] != "_" and callable(item)}
    functions = [name for name, item in items.items() if inspect.isfunction(item)]
    objects = [name for name, item in items.items() if not inspect.isclass(item) and not inspect.isroutine(item)]
    found = [*functions, *objects] or [name for name, item in items.items() if inspect.isroutine(item)]
    return sorted(found, key=lambda name: not any(word in name.lower() for word in ("attention", "attn", "attend")))


def require_no_class(function: Any, name: str) -> None:
    """Reject a class, whose instances may be checked.

    Raises:
        PreflightError: with an instance, or what its constructor requires.
    """
    if not inspect.isclass(function):
        return
    names = vars(sys.modules.get(function.__module__, sys))
    made = next((each for each, item in names.items() if type(item) is function), "")
    example = f"such as {made}" if made else f"such as `attention = {function.__name__}({_constructor(function)})`"
    raise PreflightError(f"{name} is a class, not a function: check an instance of it, {example}{_also(function)}")


def _constructor(function: Any) -> str:
    """Return the arguments that a class requires."""
    try:
        found = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return "..."
    open_kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return ", ".join(f"{each.name}=..." for each in found if each.default is each.empty and each.kind not in open_kinds)


def require_no_weights(function: Callable[..., Any], name: str) -> None:
    """Reject a layer that has weights of its own, and one of a released library that is called in another way.

    Raises:
        PreflightError: with the names of weights, and the ways to check such a layer.
    """
    weights = _weights(function)
    if weights:
        what = f"is a layer with weights of its own ({_some(weights)}), and what is checked is attention without them"
    elif _package(type(function)) == "flax":
        what = (
            "is a module of flax, whose parameters are passed to `apply`, and what is checked is a function of arrays"
        )
    elif also := _also(type(function)):
        raise PreflightError(f"{name} is not called as attention(query, key, value){also}")
    else:
        return
    raise PreflightError(
        f"{name} {what}: check the function inside it that computes softmax(q k^T / sqrt(d)) v, or the layer with "
        '--operation MultiHeadAttention (op="MultiHeadAttention") by a function build(config, parameters) that returns '
        f"it with these parameters{_also(type(function))}"
    )


def _also(kind: type) -> str:
    """Return the subject that checks a released class."""
    subject = _SUBJECTS.get((kind.__module__.partition(".")[0], kind.__name__))
    return f"; the released class is checked by `attention-ref check {subject}`" if subject else ""


def _weights(function: Any) -> list[str]:
    """Return the names of the weights of a layer of any library."""
    if callable(named := getattr(function, "named_parameters", None)):
        return [name for name, _ in named()]
    if isinstance(weights := getattr(function, "weights", None), list):
        return [str(getattr(each, "path", getattr(each, "name", "weight"))) for each in weights]
    attributes = getattr(function, "__dict__", {}) if not inspect.isroutine(function) else {}
    return [name for name, item in attributes.items() if len(getattr(item, "shape", ())) > 1]


def _package(kind: type) -> str:
    """Return the package that a class, or one that it is derived from, comes from: of those with layers."""
    roots = [each.__module__.partition(".")[0] for each in kind.__mro__]
    return next((root for root in roots if root in ("keras_hub", "torch", "keras", "flax")), roots[0])


def device_sentence(name: str, text: str) -> str:
    """Return what to do about the error of a missing device; an empty string for another error."""
    if not any(word in text.lower() for word in _DEVICE):
        return ""
    return (
        f"{name} needs a device that is not here, or keeps tensors on another one: run it where the device is, or "
        f"compute on the device of its inputs ({text})"
    )


def random_sentence(function: Callable[..., Any], name: str) -> str:
    """Return what to do about a function that returns other numbers at every call."""
    is_training = bool(getattr(function, "training", False)) and callable(getattr(function, "eval", None))
    correction = f"it is in training mode: call {name}.eval() first" if is_training else "leave out what is random"
    return f"{name} returns other numbers whenever it is called with the same arrays, as with dropout; {correction}"


def shown_name(function: Callable[..., Any], name: str) -> str:
    """Return the name by which a function is called in its file: the last part of `module:name`."""
    called = name.rpartition(":")[2].rpartition(".")[2] or name_of(function)
    return called if called.isidentifier() else "function"


def _some(names: list[str]) -> str:
    more = ", ..." if len(names) > _SOME else ""
    return ", ".join(names[:_SOME]) + more
