"""Translate each option into a dialect: masks, causality, windows, lengths, scale."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from attention_ref.conformance.dialects import axes
from attention_ref.conformance.dialects.dialect import SIDES, Dialect
from attention_ref.conformance.errors import Unsupported
from attention_ref.conformance.frameworks import framework_of, values_of
from attention_ref.spec.dtypes import DTYPES
from attention_ref.spec.operations import ATTENTION


@dataclass(frozen=True)
class Sizes:
    """The sizes of a call, with axes in the specification's order."""

    batch: tuple[int, ...]
    heads: int
    groups: int
    queries: int
    keys: int
    size: int
    value_size: int

    @classmethod
    def of(cls, query: Any, key: Any, value: Any) -> Sizes:
        """Read the sizes from `(b,h,q,d)`, `(b,g,k,d)` and `(b,g,k,v)`."""
        *batch, heads, queries, size = map(int, query.shape)
        return cls(tuple(batch), heads, int(key.shape[-3]), queries, int(key.shape[-2]), size, int(value.shape[-1]))

    def behind(self, names: Sequence[str]) -> dict[str, list[int]]:
        """Return the axis sizes for the axis names of a result."""
        numbers = {"heads": self.heads, "length": self.queries, "queries": self.queries, "keys": self.keys}
        numbers["size"] = self.value_size
        return {"batch": list(self.batch), **{name: [numbers[name]] for name in names[1:]}}

    def tiled(self) -> list[int]:
        """Return the order of query heads in which head `i` reads key/value head `i % g`."""
        each = self.heads // self.groups
        return [(place % self.groups) * each + place // self.groups for place in range(self.heads)]

    def conditions(self) -> Iterator[str]:
        """Return the `dialect.CONDITIONS` that hold."""
        pairs = {
            "grouped": self.heads != self.groups,
            "multi-query": self.groups == 1 < self.heads,
            "value size": self.value_size != self.size,
            "no keys": self.keys == 0,
            "no queries": self.queries == 0,
            "empty axis": 0 in (*self.batch, self.heads, self.groups, self.queries, self.keys, self.size)
            or self.value_size == 0,
            "more queries": self.queries > self.keys,
        }
        return (name for name, holds in pairs.items() if holds)


def translated(
    dialect: Dialect,
    words: Mapping[str, str],
    options: Mapping[str, Any],
    sizes: Sizes,
    query: Any,
    order: Sequence[int] | None,
) -> dict[str, Any]:
    """Return the arguments of a call other than query, key and value, by their names in the specification.

    Arguments:
        dialect, words: the convention, and the function's argument names.
        options: the options that differ from their defaults.
        sizes, query: the sizes and the query of the call.
        order: the order of the query heads, if the dialect has another.

    Raises:
        Unsupported: if the dialect cannot express the value of an option.
    """
    found = dict(_scale_and_sizes(dialect, words, options, sizes))
    found |= _positions(dialect, options, sizes)
    if "key_lengths" in options and "key_lengths" not in dialect.by_mask:
        found["key_lengths"] = _lengths(dialect, options["key_lengths"], sizes, query)
    masks = _masks(dialect, words, _visible(dialect, options, sizes, query), options.get("bias"), query)
    found |= {name: _shaped(dialect, array, sizes, order) for name, array in masks.items()}
    done = (*ATTENTION.visibility, "scale")
    rest = [name for name in options if name not in done and ATTENTION[name].stage != "result"]
    return found | {name: _untranslated(name, options[name], dialect, sizes, order) for name in rest}


def _untranslated(name: str, option: Any, dialect: Dialect, sizes: Sizes, order: Sequence[int] | None) -> Any:
    """Return an option that needs no translation, except for the order of heads."""
    argument = ATTENTION[name]
    if argument.broadcasts:
        return _shaped(dialect, option, sizes, order)
    if order is None or "h" not in argument.letters:
        return option
    return framework_of(option).take(option, order, argument.letters.index("h"))


def is_non_finite(query: Any, key: Any, value: Any, options: Mapping[str, Any]) -> bool:
    """Return whether a visible input is NaN or infinite."""
    has_rules = any(ATTENTION[name].hides and ATTENTION[name].stage == "visibility" for name in options)
    arrays = [query] if has_rules else [query, key, value]
    numbers = [values_of(array) for array in arrays if not framework_of(array).is_traced(array)]
    if "bias" in options:
        bias = values_of(options["bias"])
        numbers.append(np.where(bias == -np.inf, 0, bias))
    return not all(np.all(np.isfinite(array)) for array in numbers)


def _scale_and_sizes(
    dialect: Dialect, words: Mapping[str, str], options: Mapping[str, Any], sizes: Sizes
) -> Iterator[tuple[str, Any]]:
    sized = {"heads": sizes.heads, "kv_heads": sizes.groups, "grouped": sizes.heads != sizes.groups}
    yield from ((name, number) for name, number in sized.items() if name in words)
    if dialect.default_scale == "1/sqrt(size)":
        yield from ([("scale", options["scale"])] if "scale" in options else [])
        return
    scale = options.get("scale", 1 / math.sqrt(sizes.size) if sizes.size else 1.0)
    if "scale" in words:
        yield "scale", scale
    elif scale != 1:
        raise Unsupported(f"no argument scale, and its default is {dialect.default_scale}")


def _positions(dialect: Dialect, options: Mapping[str, Any], sizes: Sizes) -> dict[str, Any]:
    """Return the arguments for causality and the window."""
    own = [name for name in ("causal", "window") if name in options and name not in dialect.by_mask]
    if not own:
        return {}
    found: dict[str, Any] = {"causal": True} if "causal" in own else {}
    if dialect.causal_alignment == "offset" and "query_offset" in options:
        found["query_offset"] = options["query_offset"]
    return found | (_window(dialect, options, sizes) if "window" in own else {})


def _window(dialect: Dialect, options: Mapping[str, Any], sizes: Sizes) -> dict[str, Any]:
    left, right = options["window"]
    if dialect.window in ("distances", "two distances"):
        is_open = {"None": None, "-1": -1, "length": sizes.queries + sizes.keys}[dialect.window_open]
        sides = tuple(is_open if side is None else side for side in (left, right))
        return {"window": sides} if dialect.window == "distances" else dict(zip(SIDES["window"], sides, strict=True))
    if left is None or (left != right and not ("causal" in options and (right is None or right >= 0))):
        raise Unsupported("its window is a single number for both sides")
    return {"window": left + 1 if dialect.window == "count" else left}


def _lengths(dialect: Dialect, lengths: Any, sizes: Sizes, query: Any) -> Any:
    if dialect.key_lengths == "lengths":
        return lengths
    real = _real(lengths, sizes)
    framework = framework_of(query)
    return framework.constant(real if dialect.key_lengths == "keys" else ~real, query)


def _real(lengths: Any, sizes: Sizes) -> np.ndarray:
    """Return which keys are real, not padding, `(b,k)`."""
    rows = np.broadcast_to(values_of(lengths), sizes.batch)
    return np.arange(sizes.keys) < rows[..., None]


def _visible(dialect: Dialect, options: Mapping[str, Any], sizes: Sizes, query: Any) -> Any:
    """Return the mask combined with the rules that the dialect passes as part of it."""
    mask = options.get("mask")
    for rule in _rules(dialect, options, sizes):
        framework = framework_of(query)
        visible = framework.constant(rule, query)
        mask = visible if mask is None else framework.logical_and(mask, visible)
    return mask


def _rules(dialect: Dialect, options: Mapping[str, Any], sizes: Sizes) -> Iterator[np.ndarray]:
    offset = values_of(options.get("query_offset", 0))
    rows = np.arange(sizes.queries) + offset[..., None]  # (q) or (b,q)
    rows = rows if offset.ndim == 0 else rows[..., None, :]  # (b,1,q)
    distance = np.arange(sizes.keys) - rows[..., None]  # (q,k) or (b,1,q,k)
    if "causal" in options and "causal" in dialect.by_mask:
        yield distance <= 0
    if "window" in options and "window" in dialect.by_mask:
        left, right = (np.inf if side is None else side for side in options["window"])
        yield (distance >= -left) & (distance <= right)
    if "key_lengths" in options and "key_lengths" in dialect.by_mask:
        yield _real(options["key_lengths"], sizes)[..., None, None, :]  # (b,1,1,k)


def _masks(dialect: Dialect, words: Mapping[str, str], mask: Any, bias: Any, query: Any) -> dict[str, Any]:
    """Return the arguments for mask and bias, in the mask kind of the dialect."""
    found, framework = {}, framework_of(query)
    if bias is not None and "bias" in words:
        found, bias = {"bias": bias}, None
    if bias is not None or (mask is not None and dialect.mask_kind == "added"):
        numbers = framework.scalar(0.0, query) if bias is None else bias
        hidden = -math.inf if dialect.hidden_score == "-inf" else -DTYPES[framework.dtype(query)].largest
        return found | {"mask": numbers if mask is None else framework.where(mask, numbers, hidden)}
    if mask is None:
        return found
    mask = mask if dialect.mask_true == "attends" else framework.logical_not(mask)
    return found | {"mask": framework.cast(mask, query) if dialect.mask_kind == "numbers" else mask}


def _shaped(dialect: Dialect, array: Any, sizes: Sizes, order: Sequence[int] | None) -> Any:
    """Return a mask with the axes and the head order of the dialect."""
    framework, shape = framework_of(array), tuple(map(int, array.shape))
    if order is not None and len(shape) > 2 and shape[-3] > 1:
        array = framework.take(array, order, len(shape) - 3)
    if dialect.mask_layout == "broadcast":
        missing = min(dialect.mask_rank, len(sizes.batch) + 3) - len(shape)
        return framework.reshape(array, (1,) * missing + shape) if missing > 0 else array
    behind = sizes.behind(axes.SCORES)
    full = [size for name in axes.SCORES for size in behind[name]]
    padded = (1,) * (len(full) - len(shape)) + shape
    phrase = axes.parse(dialect.mask_layout)
    names = [name for name in axes.SCORES if name in axes.flat(phrase)]
    places = [name for name in axes.SCORES for _ in behind[name]]
    for name, size in zip(places, padded, strict=True):
        if name not in names and size != 1:
            raise Unsupported(f"a mask that is not the same for all {name if name != 'batch' else 'batch rows'}")
    wanted = [size if name in names else 1 for name, size in zip(places, full, strict=True)]
    kept = [size for name, size in zip(places, full, strict=True) if name in names]
    array = framework.reshape(framework.broadcast(framework.reshape(array, padded), wanted), kept)
    return axes.arrange(array, phrase, names)
