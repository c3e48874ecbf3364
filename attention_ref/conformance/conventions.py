"""The conventions of other libraries that a function may follow, tried until its numbers are right."""

from __future__ import annotations

import inspect
import itertools
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from typing import Any

from attention_ref.conformance import dialects
from attention_ref.conformance.dialects.adapter import adapted, parameters
from attention_ref.conformance.dialects.dialect import TENSORS, Dialect
from attention_ref.conformance.errors import UsageError
from attention_ref.conformance.frameworks import KIND_OF_PACKAGE
from attention_ref.conformance.plain_call import DISTINCT, RIGHT, Caller, Shape
from attention_ref.conformance.signatures import signed

NAMES = {
    "query": ("query", "queries", "q", "query_states", "query_layer", "xq"),
    "key": ("key", "keys", "k", "key_states", "key_layer", "xk"),
    "value": ("value", "values", "v", "value_states", "value_layer", "xv"),
    "heads": ("heads", "num_heads", "n_heads", "n_head", "nhead", "num_attention_heads", "h"),
    "mask": ("attn_mask", "attention_mask", "masks"),
    "causal": ("is_causal", "use_causal_mask", "use_causal", "causal_mask"),
    "scale": ("softmax_scale", "sm_scale", "scaling", "scale_factor"),
    "bias": ("attn_bias", "attention_bias"),
    "softcap": ("soft_cap", "logits_soft_cap", "attn_logits_soft_cap", "logit_cap"),
    "key_lengths": ("key_padding_mask", "padding_mask", "key_mask", "valid_lens", "kv_lengths", "key_length"),
    "return_weights": (
        "need_weights",
        "return_attention",
        "return_attention_scores",
        "return_attn",
        "output_attentions",
    ),
}
"""How other libraries call the arguments, by the names of the specification."""
CONSTANTS = {
    **dict.fromkeys(("dropout", "dropout_p", "dropout_rate", "attn_dropout", "p"), 0.0),
    **dict.fromkeys(("training", "is_training", "train"), False),
    "deterministic": True,
}
"""Values of other arguments for which the formula is plain."""

_LAYOUTS = (
    "batch heads length size",
    "batch length heads size",
    "length batch heads size",
    "heads batch length size",
    "batch*heads length size",
    "batch heads size length",
)
_FOLDED = ("batch length heads*size", "length batch heads*size")
_ALIASES = {alias: name for name, aliases in NAMES.items() for alias in aliases}


def role(name: str) -> str:
    """Return the specification's name of an argument that other libraries call so, or nothing."""
    return _ALIASES.get(name, _ALIASES.get(name.lower(), ""))


def signature(function: Callable[..., Any]) -> list[inspect.Parameter] | None:
    """Return the arguments of a function; None where it has no signature."""
    try:
        return list(inspect.signature(signed(function)).parameters.values())
    except (TypeError, ValueError):
        return None


def kinds_of(function: Callable[..., Any], returned: Any = None) -> list[str]:
    """Return the kinds of arrays that a function seems to compute with: by what it returns, is, and mentions."""
    target = inspect.unwrap(signed(function))
    code = getattr(target, "__code__", None)
    there = getattr(target, "__globals__", {})
    mentioned = [there.get(name) for name in (code.co_names if code else ())]
    mentioned += [cell.cell_contents for cell in getattr(target, "__closure__", None) or () if _is_filled(cell)]
    modules = [getattr(type(returned), "__module__", ""), *(each.__module__ for each in type(function).__mro__)]
    modules += [str(getattr(function, "__module__", "") or "")]
    modules += [str(getattr(each, "__name__" if inspect.ismodule(each) else "__module__", "")) for each in mentioned]
    modules += [str(getattr(each, "__name__", "")) for each in there.values() if inspect.ismodule(each)]
    roots = [name.partition(".")[0] for name in modules]
    found = [KIND_OF_PACKAGE[root] for root in roots if root in KIND_OF_PACKAGE]
    return [kind for kind in dict.fromkeys(found) if kind in sys.modules and kind != "numpy"]


def _is_filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - it raises where it is empty
    except ValueError:
        return False
    return True


def fitting(
    function: Callable[..., Any], kinds: Sequence[str], caller: Caller, shape: Shape = DISTINCT, **options: bool
) -> Dialect | None:
    """Return the dialect in which a function computes attention, the most ordinary first.

    Arguments:
        function: the attention.
        kinds: the kinds of arrays to try.
        caller: makes the calls.
        shape, options: of the call, a plain one by default; see `Caller.call`.
    """
    for kind, given in itertools.product(kinds, _given(function)):
        for layout, returns, scale in itertools.product(
            _layouts(given), ((), ("output", "weights")), ("1/sqrt(size)", "1")
        ):
            dialect = Dialect(arrays=kind, layout=layout, returns=returns, default_scale=scale, **given)
            if _is_right(function, dialect, caller, shape, **options):
                return with_options(function, dialect, caller, shape, **options)
    return None


def named(function: Callable[..., Any], kinds: Sequence[str], caller: Caller) -> str:
    """Return the name of a dialect that comes with the kit and fits: the numbers are right with a mask too."""
    for name in dialects.names():
        dialect = dialects.named(name)
        if dialect.arrays in kinds and all(
            _is_right(function, dialect, caller, DISTINCT, **options)
            for options in ({}, {"mask": True}, {"causal": True})
        ):
            return name
    return ""


def with_options(
    function: Callable[..., Any], dialect: Dialect, caller: Caller, shape: Shape = DISTINCT, **options: bool
) -> Dialect:
    """Add the names of the options, and what a mask means, where that makes the numbers of their calls right."""
    there = parameters(function)
    names = there[0] if there else set()
    for name in ("scale", "bias", "softcap", "return_weights"):
        if alias := _alias(name, names):
            dialect = replace(dialect, arguments={**dialect.arguments, name: alias})
    for name, changes in (("causal", _causal()), ("mask", _masks(dialect)), ("key_lengths", _paddings())):
        alias = _alias(name, names)
        if not alias and name not in names:
            continue
        words = {**dialect.arguments, **({name: alias} if alias else {})}
        for change in changes:
            tried = replace(dialect, arguments=words, **change)
            if _is_right(function, tried, caller, shape, **{**options, name: True}):
                dialect = tried
                break
    return dialect


def toml(dialect: Dialect) -> str:
    """Write a dialect as TOML: its differences from the specification's convention."""
    plain, tables = Dialect(), []
    lines = []
    for each in fields(Dialect):
        value = getattr(dialect, each.name)
        if value == getattr(plain, each.name) and each.name != "arrays":
            continue
        if isinstance(value, dict):
            tables += ["", f"[{each.name}]", *(f"{name} = {json.dumps(item)}" for name, item in value.items())]
        else:
            lines.append(f"{each.name} = {json.dumps(list(value) if isinstance(value, tuple) else value)}")
    return "\n".join([*lines, *tables])


def _alias(name: str, there: set[str]) -> str:
    """Return the other name that a function has for an option, where it lacks the specification's."""
    return "" if name in there else next((alias for alias in NAMES[name] if alias in there), "")


def _causal() -> Iterator[dict[str, Any]]:
    yield {}
    yield {"causal_alignment": "top left"}


def _masks(dialect: Dialect) -> Iterator[dict[str, Any]]:
    """Go through the forms of a mask; one of three axes where batch and heads are one axis, as far as it takes that."""
    joined = ({"mask_layout": "batch*heads queries keys"},) if dialect.layout.startswith("batch*heads ") else ()
    forms = (*joined, {"mask_rank": 0}, {"mask_rank": 4})
    for form, kind, polarity in itertools.product(forms, ("boolean", "numbers", "added"), ("attends", "hides")):
        if kind != "added" or polarity == "attends":
            yield {"mask_kind": kind, "mask_true": polarity, **form}


def _paddings() -> Iterator[dict[str, Any]]:
    yield from ({"key_lengths": each} for each in ("lengths", "padding", "keys"))


def _given(function: Callable[..., Any]) -> Iterator[dict[str, Any]]:
    """Go through what the arguments of a function may be: by position, by name, and with what else it requires."""
    found = signature(function)
    if found is None:
        yield {}
        return
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    roles = {role(each.name): each.name for each in found if each.kind in kinds and role(each.name)}
    required = [each.name for each in found if each.kind in kinds and each.default is each.empty]
    constants = {name: CONSTANTS[name] for name in required if name in CONSTANTS}
    more = {"constants": constants} if constants else {}
    heads = {"heads": roles["heads"]} if roles.get("heads") in required else {}
    if not heads:
        yield dict(more)
    if set(TENSORS) <= set(roles):
        words = {name: roles[name] for name in TENSORS} | heads
        if heads or [roles[name] for name in TENSORS] != [each.name for each in found][:3] or constants:
            yield {"arguments": words, **more}


def _layouts(given: dict[str, Any]) -> tuple[str, ...]:
    return _FOLDED if "heads" in given.get("arguments", {}) else _LAYOUTS


def _is_right(function: Callable[..., Any], dialect: Dialect, caller: Caller, shape: Shape, **options: bool) -> bool:
    try:
        return caller.call(adapted(function, dialect), dialect.arrays, shape, **options).what == RIGHT
    except UsageError:
        return False
