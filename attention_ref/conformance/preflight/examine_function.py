"""Checks before any case runs: whether a function can be called as attention and, if not, what to change.

Nothing is refused whose plain call gives the right numbers, or numbers of the right shape, which the cases judge.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from attention_ref.conformance import conventions
from attention_ref.conformance.convention_words import differences
from attention_ref.conformance.conventions import CONSTANTS, role
from attention_ref.conformance.dialects.dialect import Dialect
from attention_ref.conformance.errors import UsageError
from attention_ref.conformance.plain_call import (
    DISTINCT,
    ERROR,
    KIND,
    RIGHT,
    SHAPE,
    SHAPES,
    UNKNOWN,
    WRONG,
    Caller,
    Outcome,
)
from attention_ref.conformance.signatures import name_of
from attention_ref.spec.operations import ATTENTION

NO_REMARK = ("", "")

_DEVICE = ("cuda", "nvidia", "gpu", "same device", "on device", "triton", "no kernel image")


class PreflightError(UsageError):
    """A function that cannot be called as the specification's is.

    Arguments:
        sentence: what is the matter, and what to do.
        dialect: TOML that describes its conventions, where they are known.
    """

    def __init__(self, sentence: str, dialect: str = "") -> None:
        shown = f"\nThis dialect describes it, for dialect=... or --dialect FILE:\n\n{dialect}" if dialect else ""
        super().__init__(sentence + shown)
        self.sentence = sentence
        self.dialect = dialect


def require_callable(function: Any, name: str = "") -> None:
    """Reject an object that cannot be called, such as a module.

    Raises:
        PreflightError: with the names of the functions of a module.
    """
    name = name or str(getattr(function, "__name__", type(function).__name__))
    if inspect.ismodule(function):
        functions = [each for each, item in vars(function).items() if inspect.isfunction(item) and each[0] != "_"]
        some = ", ".join(functions[:6])
        raise PreflightError(
            f"{name} is a module, not a function: check a function in it, such as {name}:{functions[0]}; it has {some}"
            if functions
            else f"{name} is a module, not a function, and has no function of its own"
        )
    if not callable(function):
        raise PreflightError(f"{name} is not callable, it is of type {type(function).__name__}: check a function")


def examine(function: Callable[..., Any], arrays: str, caller: Caller) -> tuple[str, str]:
    """Call an attention without options, and find out what to change where that cannot work.

    Arguments:
        function: what is to be checked.
        arrays: the declared array type.
        caller: makes the calls.

    Returns:
        A remark on what another dialect would make right, and that dialect as TOML; both empty where there is none.

    Raises:
        PreflightError: when a plain call cannot work.
    """
    name = name_of(function)
    first = caller.call(function, arrays)
    if first.what == UNKNOWN:
        return NO_REMARK
    if first.what == RIGHT:
        return _remark(function, name, arrays, caller)
    others = [caller.call(function, arrays, shape) for shape in SHAPES[1:]]
    works_elsewhere = first.what != WRONG and any(each.what == RIGHT for each in others)
    if works_elsewhere or any(each.what == UNKNOWN for each in others):
        return NO_REMARK
    return _explained(function, name, arrays, caller, [first, *others])


def _explained(
    function: Callable[..., Any], name: str, arrays: str, caller: Caller, outcomes: Sequence[Outcome]
) -> tuple[str, str]:
    """Find out why no plain call of a function is right."""
    if inspect.isclass(function):
        raise PreflightError(f"{name} is a class, not a function: check an instance of it, or its method")
    kinds = list(dict.fromkeys([arrays, *conventions.kinds_of(function, outcomes[0].returned)]))
    if conventions.signature(function) is None and (dialect := conventions.named(function, kinds, caller)):
        raise PreflightError(_built_in(name, dialect))
    found, fails = conventions.fitting(function, kinds, caller), outcomes[0].what != WRONG
    if found is not None and fails:
        raise PreflightError(_sentence(name, arrays, found), "" if _is_plain(found) else conventions.toml(found))
    if found is not None:
        return f"it is right where it is called in another way: {differences(found)}", conventions.toml(found)
    if fails:
        _require_arguments(function, name)
        _refuse(name, arrays, kinds, outcomes)
    return NO_REMARK


def _remark(function: Callable[..., Any], name: str, arrays: str, caller: Caller) -> tuple[str, str]:
    """Examine the options of a function whose plain call is right: their names, and the meaning of True in a mask."""
    if conventions.signature(function) is None:
        _require_options(function, name, arrays, caller)
        return NO_REMARK
    dialect = conventions.with_options(function, Dialect(arrays=arrays), caller)
    if dialect == Dialect(arrays=arrays):
        return NO_REMARK
    return f"more of it can be checked with a dialect: {differences(dialect)}", conventions.toml(dialect)


def _require_options(function: Callable[..., Any], name: str, arrays: str, caller: Caller) -> None:
    """Reject a function without a signature that does not understand the specification's options."""
    outcomes = [caller.call(function, arrays, mask=True), caller.call(function, arrays, causal=True)]
    if any(each.what != ERROR for each in outcomes):
        return
    if dialect := conventions.named(function, [arrays], caller):
        raise PreflightError(_built_in(name, dialect))
    raise PreflightError(
        f"{name} is built in, without a signature that says what it accepts, and takes neither mask nor causal: "
        f"wrap it, as in `def attention(query, key, value): return {name}(query, key, value)`"
    )


def _built_in(name: str, dialect: str) -> str:
    return (
        f"{name} is built in, without a signature that says what it accepts: "
        f'add dialect="{dialect}" (--dialect {dialect}), which describes it'
    )


def _sentence(name: str, arrays: str, found: Dialect) -> str:
    """Explain why a function fails that would be right with a dialect."""
    if _is_plain(found):
        option = f'arrays="{found.arrays}" (--arrays {found.arrays})'
        return f"{name} computes with arrays of {found.arrays}, and was called with those of {arrays}: add {option}"
    return f"{name} is right where it is called in another way: {differences(found, arrays)}"


def _is_plain(found: Dialect) -> bool:
    return found == Dialect(arrays=found.arrays)


def _require_arguments(function: Callable[..., Any], name: str) -> None:
    """Reject a function that cannot take three arrays and nothing else, by its signature."""
    found = conventions.signature(function)
    if found is None or any(each.kind is each.VAR_POSITIONAL for each in found):
        return
    positional = [each for each in found if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
    required = [each.name for each in found if each.default is each.empty and each.kind is not each.VAR_KEYWORD]
    if len(positional) < 3:
        takes = ", ".join(each.name for each in found) or "nothing"
        raise PreflightError(
            f"{name} takes ({takes}), and attention is called as {name}(query, key, value): "
            "let it take these three arrays first"
        )
    extra = [each for each in required if each not in [item.name for item in positional[:3]]]
    if not extra:
        return
    option = role(extra[0]) or extra[0]
    if extra[0] == "self":
        return
    default = "None" if option in ATTENTION.options and option != "causal" else repr(CONSTANTS.get(extra[0], "..."))
    default = "False" if option == "causal" else default.strip("'")
    plural = "arguments" if len(extra) > 1 else "argument"
    raise PreflightError(
        f"{name} requires the {plural} {', '.join(extra)}, and attention is called as {name}(query, key, value): "
        f"give {'them' if len(extra) > 1 else 'it'} a default, such as {extra[0]}={default}"
    )


def _refuse(name: str, arrays: str, kinds: Sequence[str], outcomes: Sequence[Outcome]) -> None:
    """Reject a function none of whose plain calls gives an array of the right shape, where the reason is plain."""
    first = outcomes[0]
    if first.what == ERROR and any(word in first.text.lower() for word in _DEVICE):
        raise PreflightError(
            f"{name} needs a device that is not here, or keeps tensors on another one: run it where the device is, or "
            f"compute on the device of its inputs ({first.text})"
        )
    found = {each.what for each in outcomes}
    if found == {KIND}:
        what = "add the `return`" if first.text == "None" else "return the output alone"
        raise PreflightError(f"{name} returns {first.text} instead of an array of {arrays}: {what}")
    if found == {SHAPE}:
        b, h, q, k, d = DISTINCT.batch, DISTINCT.heads, DISTINCT.queries, DISTINCT.keys, DISTINCT.size
        raise PreflightError(
            f"{name} returns the shape {first.text} instead of {first.expected} for a query ({b}, {h}, {q}, {d}) and "
            f"keys ({b}, {h}, {k}, {d}): return (batch, heads, queries, value size)"
        )
    if found == {ERROR} and len(kinds) > 1:
        named = " or ".join(f'arrays="{kind}" (--arrays {kind})' for kind in kinds if kind != arrays)
        raise PreflightError(
            f"{name} raises an error for arrays of {arrays}, and mentions another library: add {named} ({first.text})"
        )
