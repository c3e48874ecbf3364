"""The check of attention, remembered for calls that differ in values alone.

What a check depends on is the key: names, shapes and dtypes of the arrays, and the options. Only calls that passed are
remembered, so a bad call raises its error every time. Lengths are values, and are checked in every call.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attention_ref.spec.shapes import Described, Sizes

Kind = tuple[str, Any, Any]
"""The name, the shape and the dtype of an array."""

_PLAIN = frozenset({bool, int, float, type(None)})
"""The types of options that may be part of a key; values of other types may change or lack a hash."""

_SIDES = frozenset({int, type(None)})
"""The types of the sides of such a window: within a tuple, True would be taken for 1."""


def check_once(
    operation: str,
    check: Callable[..., Sizes],
    kinds: Sequence[Kind],
    name_of: Callable[[Any], str],
    options: Mapping[str, Any],
    lengths: Sequence[int] | None = None,
) -> Sizes:
    """Check a call of attention as `check` does, unless a call that differs in its values alone has passed.

    Arguments:
        operation: the name to report.
        check: such as `attention_ref.spec.attention_checks.check_attention`.
        kinds: of the arrays of the call, in order; shapes are tuples.
        name_of: returns the name of a dtype.
        options: the others, as the caller gave them.
        lengths: the values of `key_lengths`, where they can be read.

    Raises:
        SpecificationError: for anything that the specification does not define.
    """
    window, types = options["window"], {*map(type, options.values())}
    if type(window) is tuple and _SIDES.issuperset(map(type, window)):
        types.remove(tuple)
    if not types <= _PLAIN:
        return _check(operation, check, tuple(kinds), name_of, tuple(options), *options.values(), lengths)
    sizes = _remembered(operation, check, tuple(kinds), name_of, tuple(options), *options.values(), None)
    if lengths and not 0 <= min(lengths) <= max(lengths) <= sizes.key_length:
        return _check(operation, check, tuple(kinds), name_of, tuple(options), *options.values(), lengths)
    return sizes


def _check(
    operation: str,
    check: Callable[..., Sizes],
    kinds: tuple[Kind, ...],
    name_of: Callable[[Any], str],
    names: tuple[str, ...],
    *given: Any,
) -> Sizes:
    described = {name: Described(tuple(shape), name_of(dtype)) for name, shape, dtype in kinds}
    options = dict(zip((*names, "key_lengths"), given, strict=True))
    return check(operation, described, options)


_remembered = functools.lru_cache(maxsize=1024, typed=True)(_check)  # typed, for an option of 1 is not True
