"""Adapter: translate the specification's call of attention into a dialect, and the results back, without arithmetic."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any

from attention_ref.conformance.dialects import option_rules
from attention_ref.conformance.dialects.dense_layout import dense
from attention_ref.conformance.dialects.dialect import EXTRAS, OPTIONS, SIDES, TENSORS, Dialect
from attention_ref.conformance.dialects.joined_tensors import joined, packed_in_one_array
from attention_ref.conformance.dialects.key_buffer import buffered
from attention_ref.conformance.dialects.option_rules import Sizes
from attention_ref.conformance.dialects.packed_sequences import packed, packed_on_pages
from attention_ref.conformance.dialects.paged_keys import paged
from attention_ref.conformance.dialects.stored_call import Call, StoredCall
from attention_ref.conformance.errors import SubjectError, Unsupported, UsageError
from attention_ref.conformance.frameworks import framework_of
from attention_ref.conformance.signatures import name_of, signed
from attention_ref.spec.operations import ATTENTION

STORAGES: Mapping[str, Callable[[Call], StoredCall]] = {
    "dense": dense,
    "packed": packed,
    "paged": paged,
    "packed, paged": packed_on_pages,
    "buffer": buffered,
    "one array": joined,
    "packed, one array": packed_in_one_array,
}
"""The rules that lay out the sequences of a call in memory, by `Dialect.storage`."""
_NEEDED = {
    "packed": ("query_starts", "key_starts"),
    "paged": ("page_table", "key_lengths"),
    "packed, paged": ("query_starts", "page_table", "key_lengths or key_starts"),
    "packed, one array": ("query_starts",),
}
"""The arguments without which a storage makes no sense; of two one suffices."""
_OF_KEYS = {"mask", "bias", "dropout", "dropout_mask", "return_weights"}
_LACKING = {
    "packed": _OF_KEYS,
    "paged": _OF_KEYS,
    "packed, paged": _OF_KEYS,
    "packed, one array": {*_OF_KEYS, "key_lengths"},
    "buffer": {"dropout", "dropout_mask", "return_weights"},
}
"""The options that cannot be expressed for a storage: those with an axis of keys, of which there is none."""

_ASKED = {result.asked_by: result.name for result in ATTENTION.results if result.asked_by}


def adapted(function: Callable[..., Any], dialect: Dialect) -> Callable[..., Any]:
    """Wrap a function of a dialect with the signature and conventions of `attention_ref.spec.attention`.

    The returned function has the options that the dialect can express, and raises `Unsupported` for a value of one that
    it cannot.

    Arguments:
        function: the attention to wrap.
        dialect: its calling convention.

    Raises:
        UsageError: if the dialect names an argument that the function's signature lacks.

    Example:
        >>> def length_first(query, key, value):
        ...     return attention(*(array.swapaxes(1, 2) for array in (query, key, value))).swapaxes(1, 2)
        >>> function = adapted(length_first, Dialect(layout="batch length heads size"))
        >>> array = np.zeros((1, 2, 3, 4))
        >>> function(array, array, array).shape
        (1, 2, 3, 4)
    """
    words = _words(function, dialect)
    needed = _NEEDED.get(dialect.storage, ())
    if missing := [names for names in needed if not set(names.split(" or ")) & set(words)]:
        raise UsageError(f"storage {dialect.storage!r} needs a name for {' and '.join(missing)} among the arguments")
    offered = _offered(words, dialect)

    def operation(query: Any, key: Any, value: Any, **options: Any) -> Any:
        if unknown := sorted(set(options) - set(offered)):
            raise TypeError(f"the dialect cannot express {', '.join(unknown)}")
        return _Call(function, dialect, words, _meaning(options)).of(query, key, value)

    items = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in TENSORS]
    items += [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None) for name in offered]
    operation.__signature__ = inspect.Signature(items)  # type: ignore[attr-defined]
    operation.__wrapped__ = function  # type: ignore[attr-defined]
    operation.__name__ = name_of(function)
    return operation


def _words(function: Callable[..., Any], dialect: Dialect) -> dict[str, str]:
    """Map the names of arguments in the specification to those of the function."""
    found = parameters(function)
    words = {name: word for name, word in dialect.arguments.items() if word}
    if found is None:
        return words
    accepted, is_open = found
    if missing := sorted(set(words.values()) - accepted) if not is_open else []:
        raise UsageError(
            f"the dialect names {', '.join(missing)}, which is no argument of "
            f"{getattr(function, '__name__', function)}; its arguments are {', '.join(sorted(accepted))}"
        )
    kept = [name for name in (*OPTIONS, *EXTRAS) if name not in (*TENSORS, "grouped")]
    return words | {name: name for name in kept if name not in dialect.arguments and name in accepted}


def parameters(function: Callable[..., Any]) -> tuple[set[str], bool] | None:
    """Return a function's argument names and whether it accepts any other; None if its signature is unknown."""
    try:
        found = inspect.signature(signed(function)).parameters.values()
    except (TypeError, ValueError):  # written in C, without a signature
        return None
    is_open = any(parameter.kind is parameter.VAR_KEYWORD for parameter in found)
    return {p.name for p in found if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}, is_open


def narrowed(dialect: Dialect, function: Callable[..., Any]) -> Dialect:
    """Return the dialect without the arguments that this function lacks, where several functions share a dialect."""
    found = parameters(function)
    if found is None or found[1]:
        return dialect
    return replace(
        dialect, arguments={name: word for name, word in dialect.arguments.items() if not word or word in found[0]}
    )


def _offered(words: Mapping[str, str], dialect: Dialect) -> list[str]:
    """Return the options of the specification that a dialect can express."""
    can = {name for name in OPTIONS if name in words}
    has_mask = "mask" in words
    if has_mask and "added" in dialect.mask_kind:
        can.add("bias")
    can |= {"key_lengths"} if dialect.storage in ("packed", "packed, paged") else set()
    if has_mask:
        can |= set(dialect.by_mask)
    can |= {name for name, sides in SIDES.items() if set(sides) <= set(words)}
    can -= {"query_offset"} if dialect.causal_alignment == "top left" else set()
    if dialect.causal_alignment == "bottom right" or {"causal", "window"} & set(dialect.by_mask):
        can |= {"query_offset"} if {"causal", "window"} & can else set()
    can |= {asked for asked, result in _ASKED.items() if result in dialect.returns}
    return [name for name in OPTIONS if name in can - _LACKING.get(dialect.storage, set())]


def _meaning(options: Mapping[str, Any]) -> dict[str, Any]:
    """Drop options left at their defaults, and modifiers of options that are absent."""
    given = {name: option for name, option in options.items() if ATTENTION.says(name, option)}
    modified = {name: ATTENTION[name].modifies for name in given}
    return {name: option for name, option in given.items() if not modified[name] or set(modified[name]) & set(given)}


@dataclass(frozen=True)
class _Call:
    """One call: the function, its dialect, its argument names, and the options that differ from their defaults."""

    function: Callable[..., Any]
    dialect: Dialect
    words: Mapping[str, str]
    options: Mapping[str, Any]

    def of(self, query: Any, key: Any, value: Any) -> Any:
        sizes = Sizes.of(query, key, value)
        self._check(sizes, query, key, value)
        order = sizes.tiled() if self.dialect.heads == "tiled" and sizes.heads != sizes.groups else None
        turned = query if order is None else framework_of(query).take(query, order, -3 % len(query.shape))
        call = Call(self.dialect, self.words, turned, key, value, self.options, sizes)
        stored = STORAGES[self.dialect.storage](call)
        options = option_rules.translated(self.dialect, self.words, stored.options, stored.sizes, query, order)
        options |= {**stored.arguments, **self._asked(sizes)}
        arguments = {self.words[name]: option for name, option in options.items()} | dict(self.dialect.constants)
        named = {self.words[name]: array for name, array in stored.tensors.items() if name in self.words}
        positional = [array for name, array in stored.tensors.items() if name not in self.words]
        return self._read(self.function(*positional, **named, **arguments), stored, sizes, order)

    def _check(self, sizes: Sizes, query: Any, key: Any, value: Any) -> None:
        """Raise `Unsupported` for a call that the dialect excludes."""
        dtype, rank = framework_of(query).dtype(query), len(query.shape)
        if self.dialect.ranks and rank not in self.dialect.ranks:
            raise Unsupported(f"only arrays of rank {' or '.join(map(str, self.dialect.ranks))}")
        for size in (sizes.size, sizes.value_size) if self.dialect.head_sizes else ():
            if size not in self.dialect.head_sizes:
                raise Unsupported(f"head size {size} is not one of {', '.join(map(str, self.dialect.head_sizes))}")
        if self.dialect.dtypes and dtype not in self.dialect.dtypes:
            raise Unsupported(f"{dtype} is not one of its dtypes {', '.join(self.dialect.dtypes)}")
        if self.dialect.heads == "equal" and sizes.heads != sizes.groups:
            raise Unsupported("only as many key/value heads as query heads")
        holds = {*self.options, dtype, *sizes.conditions()}
        if self.dialect.arrays == "keras":
            holds.add(f"engine {import_module('keras').backend.backend()}")
        excluded = {name for exclusion in self.dialect.exclusions for name in exclusion.when}
        if "non-finite" in excluded and option_rules.is_non_finite(query, key, value, self.options):
            holds.add("non-finite")
        for exclusion in self.dialect.exclusions:
            if holds.issuperset(exclusion.when):
                raise Unsupported(exclusion.reason)

    def _asked(self, sizes: Sizes) -> dict[str, bool]:
        """Return the arguments that request results besides the output."""
        if "return_weights" in self.options:
            if self.dialect.weights == "averaged" and sizes.heads > 1:
                raise Unsupported("its weights are averaged over the heads")
            if self.dialect.weights == "after dropout" and "dropout" in self.options:
                raise Unsupported("its weights are returned after dropout")
        return {name: True for name in _ASKED if name in self.options and name in self.words}

    def _read(self, returned: Any, stored: StoredCall, sizes: Sizes, order: Sequence[int] | None) -> Any:
        """Select the requested results from the return value, with the axes in the specification's order."""
        wanted = ["output", *(result for asked, result in _ASKED.items() if asked in self.options)]
        names = list(self.dialect.returns) or wanted
        items = returned if isinstance(returned, (tuple, list)) else [returned]
        if len(items) != len(names):
            raise SubjectError(f"it returns {len(items)} values instead of {', '.join(names)}")
        found = dict(zip(names, items, strict=True))
        results = [_restored(name, found[name], stored, sizes, order) for name in wanted]
        return results[0] if len(results) == 1 else tuple(results)


def _restored(name: str, array: Any, stored: StoredCall, sizes: Sizes, order: Sequence[int] | None) -> Any:
    """Return a result with axes and heads in the specification's order."""
    if not hasattr(array, "shape"):
        return array
    array = stored.restore(name, array)
    if order is None:
        return array
    back = sorted(range(len(order)), key=order.__getitem__)
    return framework_of(array).take(array, back, len(sizes.batch))
