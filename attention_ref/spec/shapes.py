"""The checks of the shapes, dtypes and options of attention, for the specification and every backend.

Sizes are called by the same letter everywhere:

    b batch   h query heads   g key/value heads   q query length   k key length
    d query/key head size     v value head size   m model size     f feed-forward size   n vocabulary
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

from attention_ref.spec.dtypes import DTYPES
from attention_ref.spec.errors import received_text, reject, shape_text
from attention_ref.spec.numbers import is_finite

Shape = tuple[int | None, ...]

LEGEND: Mapping[str, str] = {
    "b": "batch",
    "h": "query heads",
    "g": "key/value heads",
    "q": "query length",
    "k": "key length",
    "d": "query/key head size",
    "v": "value head size",
    "m": "model size",
    "f": "feed-forward size",
    "n": "vocabulary",
    "a": "tanh layer size",
    "c": "memory size",
    "e": "key head size, where it is not d",
    "t": "target length",
    "u": "buckets of distance",
}

_ROWS = {name: f"{name} must have the shape (..., heads, length, size)" for name in ("query", "key", "value")}

REAL_DTYPES = (*DTYPES, "real")
"""Dtypes of tensors that take part in arithmetic; `real` is any number type of the specification itself."""

ANY = "any"
"""The dtype of an array of the specification without values."""

IMPLEMENTATIONS = ("auto", "fused", "reference")
"""The paths of a backend's attention: the fused one where the options allow, the fused one, the formula as written."""

SMALLEST_INTEGER, LARGEST_INTEGER = -(2**63), 2**63 - 1
"""The range of offsets, lengths and distances: the integers of int64."""

LARGEST_POSITION = 2**30
"""The largest absolute value of a position from which an angle or a distance is computed: the distance of a query and a
key is then an integer of 32 bits, which every backend has."""


class Described(NamedTuple):
    """The shape and the dtype's name of an array; a size that is not known yet is None."""

    shape: Shape
    dtype: str


class Sizes(NamedTuple):
    """The sizes of one call of attention: integers, or None where a size is not known before the call runs."""

    batch: tuple[Any, ...]
    heads: Any
    groups: Any
    query_length: Any
    key_length: Any
    head_size: Any
    value_size: Any

    @property
    def scores(self) -> tuple[Any, ...]:
        """The shape `(b,h,q,k)` of the scores."""
        return (*self.batch, self.heads, self.query_length, self.key_length)


def check_attention(operation: str, arrays: Mapping[str, Described | None], options: Mapping[str, Any]) -> Sizes:
    """Check a call of `attention`.

    Arguments:
        operation: the name to report.
        arrays: `query`, `key`, `value` and, where given, `mask`, `bias`, `sinks`, `dropout_mask`, `key_lengths` and a
            `query_offset` that is an array.
        options: `scale`, `softcap`, `window`, `dropout` and `causal` as the caller gave them; under `key_lengths` and
            `query_offset` lists of their values, where they can be read before the call runs. A `query_offset` needs
            that only where its dtype holds more than int64 does.

    Raises:
        SpecificationError: for anything that the specification does not define.
    """
    call = _Call(operation, arrays)
    sizes = call.check_query_key_value(same_head_size=True)
    call.check_visibility(sizes, options)
    if call.has("sinks"):
        call.check_dtype("sinks")
        call.check_shape("sinks", (sizes.heads,), "sinks must have the shape (h,), one logit for each query head")
    call.check_number("scale", options.get("scale"))
    call.check_number("softcap", options.get("softcap"), positive=True)
    return sizes


def check_additive_attention(
    operation: str, arrays: Mapping[str, Described | None], options: Mapping[str, Any]
) -> Sizes:
    """Check a call of `additive_attention`, whose arrays hold `query_kernel`, `key_kernel` and `score_kernel` too."""
    call = _Call(operation, arrays)
    sizes = call.check_query_key_value(same_head_size=False)
    call.check_visibility(sizes, options)
    call.check_dtype("score_kernel")
    call.check_rank("score_kernel", 1, "score_kernel must have the shape (a,), a being the size of the tanh layer")
    hidden = call.shape("score_kernel")[-1]
    for name in ("query", "key"):
        kernel = f"{name}_kernel"
        if call.has(kernel):
            call.check_dtype(kernel)
            rule = f"{kernel} must have the shape (last size of {name}, a), a being the size of score_kernel"
            call.check_shape(kernel, (call.shape(name)[-1], hidden), rule)
        elif _differ(call.shape(name)[-1], hidden):
            call.reject(
                f"without {kernel} the last size of {name} must be the size of score_kernel",
                f"{call.shape(name)[-1]} and {hidden}",
            )
    return sizes


def check_multiplicative_attention(
    operation: str, arrays: Mapping[str, Described | None], options: Mapping[str, Any]
) -> Sizes:
    """Check a call of `multiplicative_attention`, whose arrays may hold `score_kernel`."""
    call = _Call(operation, arrays)
    sizes = call.check_query_key_value(same_head_size=not call.has("score_kernel"))
    call.check_visibility(sizes, options)
    if call.has("score_kernel"):
        call.check_dtype("score_kernel")
        rule = "score_kernel must have the shape (last size of query, last size of key)"
        call.check_shape("score_kernel", (call.shape("query")[-1], call.shape("key")[-1]), rule)
    return sizes


def check_key_lengths(
    operation: str, key_lengths: Described, values: Sequence[int] | None, key_length: int, batch: Shape | None = None
) -> None:
    """Check lengths alone: integers, one for each row of a batch and, where they can be read, their values."""
    call = _Call(operation, {"key_lengths": key_lengths})
    call.check_per_row("key_lengths", key_lengths.shape if batch is None else batch)
    call.check_lengths(values, key_length)


def check_window(operation: str, window: Any) -> None:
    """Check a window alone: a pair of distances from 0 to 2^63 - 1, None where open."""
    _Call(operation, {}).check_window(window)


def check_integers(operation: str, name: str, given: Any) -> None:
    """Check that integers lie within int64, as the caller gave them.

    A backend calls this before it makes an array of them, where they might wrap around or raise an error of its own.

    Arguments:
        operation: the name to report.
        name: of the argument.
        given: an integer, or integers in lists and tuples of any depth. Anything else passes, for the dtype of an array
            is checked with the other arrays; the values of one of uint64 are to be given as a list.

    Raises:
        SpecificationError: for an integer outside -2^63 to 2^63 - 1.
    """
    if isinstance(given, int):
        if not SMALLEST_INTEGER <= given <= LARGEST_INTEGER:
            reject(operation, f"{name} must lie between -2^63 and 2^63 - 1", received_text(given))
    elif isinstance(given, (list, tuple)):
        for inner in given:
            check_integers(operation, name, inner)


def check_positions(operation: str, name: str, positions: Sequence[int] | None) -> None:
    """Check that positions, where they can be read, lie between -2^30 and 2^30.

    Raises:
        SpecificationError: for a position outside.
    """
    for position in (min(positions), max(positions)) if positions else ():
        if abs(position) > LARGEST_POSITION:
            reject(operation, f"{name} must lie between {-LARGEST_POSITION} and {LARGEST_POSITION}", position)


def check_implementation(operation: str, implementation: Any) -> None:
    """Check the choice between the paths of a backend's attention."""
    if not isinstance(implementation, str) or implementation not in IMPLEMENTATIONS:
        reject(operation, "implementation must be 'auto', 'fused' or 'reference'", repr(implementation))


def check_softmax(
    operation: str, scores: Described, visible: Described | None = None, sinks: Described | None = None
) -> None:
    """Check the arrays of `softmax` and `log_sum_exp`: real scores and sinks, boolean visibility."""
    call = _Call(operation, {"scores": scores, "visible": visible, "sinks": sinks})
    call.check_dtype("scores")
    call.check_rank("scores", 1, "scores must have at least one axis", at_least=True)
    if call.has("visible"):
        call.check_boolean("visible")
        call.check_broadcast("visible", scores.shape)
    if call.has("sinks"):
        call.check_dtype("sinks")
        call.check_broadcast("sinks", scores.shape[:-1])


class _Call:
    """The arrays of one call, and the checks that several operations share."""

    def __init__(self, operation: str, arrays: Mapping[str, Described | None]) -> None:
        self.operation = operation
        self.arrays = {name: array for name, array in arrays.items() if array is not None}
        self.first = next(iter(self.arrays.values()), Described((), ""))  # whose dtype the others share

    def has(self, name: str) -> bool:
        return name in self.arrays

    def shape(self, name: str) -> Shape:
        return self.arrays[name].shape

    def reject(self, rule: str, received: object) -> NoReturn:
        shapes = {name: array.shape for name, array in self.arrays.items() if array.shape}
        reject(self.operation, rule, received, shapes)

    def check_query_key_value(self, *, same_head_size: bool) -> Sizes:
        for name in ("query", "key", "value"):
            self.check_dtype(name)
            self.check_rank(name, 3, _ROWS[name], at_least=True)
        query, key, value = self.shape("query"), self.shape("key"), self.shape("value")
        for name in ("key", "value"):
            other = self.shape(name)
            if len(other) != len(query) or (other[:-3] != query[:-3] and _any_differ(other[:-3], query[:-3])):
                rule = f"query and {name} must have the same leading batch sizes"
                self.reject(rule, f"{shape_text(query[:-3])} and {shape_text(other[:-3])}")
        self._check_same(key[-3], value[-3], "key and value must have the same number of heads g")
        self._check_same(key[-2], value[-2], "key and value must have the same length k")
        if same_head_size:
            self._check_same(query[-1], key[-1], "query and key must have the same head size d")
        heads, groups = query[-3], key[-3]
        if groups == 0 or (heads is not None and groups is not None and heads % groups):
            self.reject(
                "the query heads h must be a multiple of the key/value heads g", f"h = {heads} and g = {groups}"
            )
        if query[-1] == 0:
            self.reject("the head size d must be at least 1", "0")
        batch = query[:-3]
        if None in batch:
            batch = tuple(a if a is not None else b for a, b in zip(batch, key[:-3], strict=True))
        return Sizes(batch, heads, groups, query[-2], key[-2], query[-1], value[-1])

    def check_visibility(self, sizes: Sizes, options: Mapping[str, Any]) -> None:
        if self.has("mask"):
            self.check_boolean("mask", "; a number that is added to the scores is given as bias")
            self.check_broadcast("mask", sizes.scores)
        if self.has("bias"):
            self.check_dtype("bias", "; what may be attended is given as mask")
            self.check_broadcast("bias", sizes.scores)
        for name in ("query_offset", "key_lengths"):
            if self.has(name):
                self.check_per_row(name, sizes.batch)
        check_integers(self.operation, "query_offset", options.get("query_offset"))
        self.check_lengths(options.get("key_lengths"), sizes.key_length)
        if not isinstance(options.get("causal", False), bool):
            self.reject("causal must be True or False", repr(options["causal"]))
        self.check_window(options.get("window"))
        self.check_dropout(options.get("dropout", 0.0))
        if self.has("dropout_mask"):
            self.check_boolean("dropout_mask", ", True where a weight is kept")
            self.check_broadcast("dropout_mask", sizes.scores)

    def check_dtype(self, name: str, hint: str = "") -> None:
        dtype, expected = self.arrays[name].dtype, self.first.dtype
        if dtype not in REAL_DTYPES:
            self.reject(f"{name} must be float16, bfloat16, float32 or float64{hint}", dtype)
        if dtype != expected:
            first = next(iter(self.arrays))
            self.reject(f"{first} and {name} must have the same dtype", f"{expected} and {dtype}")

    def check_boolean(self, name: str, hint: str = "") -> None:
        if self.arrays[name].dtype != "bool":
            self.reject(f"{name} must be boolean{hint}", self.arrays[name].dtype)

    def check_per_row(self, name: str, batch: Shape) -> None:
        if not self.arrays[name].dtype.startswith(("int", "uint")):
            self.reject(f"{name} must be an integer or an array of integers", self.arrays[name].dtype)
        if self.shape(name):
            self.check_shape(name, batch, f"{name} must be one integer, or one for each batch row")

    def check_rank(self, name: str, rank: int, rule: str, *, at_least: bool = False) -> None:
        received = len(self.shape(name))
        if received < rank or (received > rank and not at_least):
            self.reject(rule, f"an array of rank {received}")

    def check_shape(self, name: str, expected: Shape, rule: str) -> None:
        shape = self.shape(name)
        if len(shape) != len(expected) or _any_differ(shape, expected):
            self.reject(f"{rule}, here {shape_text(expected)}", shape_text(shape))

    def check_broadcast(self, name: str, target: Shape) -> None:
        shape = self.shape(name)
        aligned = target[len(target) - len(shape) :] if len(shape) <= len(target) else None
        if aligned is None or any(size != 1 and _differ(size, to) for size, to in zip(shape, aligned, strict=True)):
            self.reject(f"{name} must broadcast to {shape_text(target)}", shape_text(shape))

    def check_number(self, name: str, number: Any, *, positive: bool = False) -> None:
        if number is None:
            return
        kind = "a finite number above 0" if positive else "a finite number"
        if not is_finite(number) or (positive and not number > 0):
            self.reject(f"{name} must be {kind}", received_text(number))

    def check_lengths(self, values: Sequence[int] | None, key_length: int | None) -> None:
        if not values:
            return
        for length in values:
            if length < 0 or (key_length is not None and length > key_length):
                self.reject(f"key_lengths must lie between 0 and the key length k = {key_length}", length)

    def check_window(self, window: Any) -> None:
        if window is None:
            return
        is_pair = isinstance(window, (tuple, list)) and len(window) == 2
        if not is_pair or not all(side is None or (is_integer(side) and side >= 0) for side in window):
            self.reject("window must be a pair (left, right) of distances of at least 0, None where open", repr(window))
        if not all(side is None or side <= LARGEST_INTEGER for side in window):
            self.reject("the distances of window must lie between 0 and 2^63 - 1", repr(window))

    def check_dropout(self, rate: Any) -> None:
        if not is_finite(rate) or not 0 <= rate < 1:
            self.reject("dropout must be a rate of at least 0 and below 1", received_text(rate))
        if rate > 0 and not self.has("dropout_mask"):
            self.reject("dropout needs a dropout_mask, which says what weights are kept", f"dropout={rate!r} alone")
        if rate == 0 and self.has("dropout_mask"):
            self.reject("dropout_mask needs the rate that it was drawn with as dropout", "dropout=0")

    def _check_same(self, left: int | None, right: int | None, rule: str) -> None:
        if _differ(left, right):
            self.reject(rule, f"{left} and {right}")


def _differ(left: int | None, right: int | None) -> bool:
    return left is not None and right is not None and left != right


def _any_differ(left: Shape, right: Shape) -> bool:
    return any(_differ(a, b) for a, b in zip(left, right, strict=True))


def is_integer(number: Any) -> bool:
    """Whether a number is an integer of any library; True and False are none."""
    if isinstance(number, int):  # first, for a compiler takes what operator.index reads for a constant
        return not isinstance(number, bool)
    try:
        operator.index(number)
    except TypeError:
        return False
    return not isinstance(number, bool)
