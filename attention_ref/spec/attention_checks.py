"""The checks of the calls of attention, for the specification and every backend.

Query, key, value and the kernels that score them are checked here; every option by its row in the table of operations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attention_ref.spec.argument_checks import ArgumentChecks
from attention_ref.spec.arguments import Argument
from attention_ref.spec.errors import reject, shape_letters, shape_text
from attention_ref.spec.operations import ATTENTION, OPERATIONS
from attention_ref.spec.shapes import (
    LEGEND,
    REAL_DTYPES,
    Described,
    Shape,
    Sizes,
    any_differ,
    broadcasts,
    check_integers,
    check_tap,
    check_window,
    differ,
    is_integer,
)

_ROWS = {name: f"{name} must have the shape (..., heads, length, size)" for name in ("query", "key", "value")}
_HINTS = {
    "mask": "; a number that is added to the scores is given as bias",
    "bias": "; what may be attended is given as mask",
    "dropout_mask": ", True where a weight is kept",
}


def check_attention(operation: str, arrays: Mapping[str, Described | None], options: Mapping[str, Any]) -> Sizes:
    """Check a call of `attention`.

    Arguments:
        operation: the name to report.
        arrays: `query`, `key`, `value` and the options that are arrays, where they are given.
        options: the other options as the caller gave them; under `key_lengths` and `query_offset` lists of their
            values, where they can be read before the call runs. A `query_offset` needs that only where its dtype holds
            more than int64 does.

    Raises:
        SpecificationError: for anything that the specification does not define.
    """
    call = _Call(operation, arrays)
    sizes = call.check_query_key_value(same_head_size=True)
    call.check_options(sizes, options)
    return sizes


def check_additive_attention(
    operation: str, arrays: Mapping[str, Described | None], options: Mapping[str, Any]
) -> Sizes:
    """Check a call of `additive_attention`, whose arrays hold `query_kernel`, `key_kernel` and `score_kernel` too."""
    call = _Call(operation, arrays, "additive_attention")
    sizes = call.check_query_key_value(same_head_size=False)
    call.check_options(sizes, options)
    call.check_presence("score_kernel")
    call.check_dtype("score_kernel")
    call.check_rank("score_kernel", 1, "score_kernel must have the shape (a,), a being the size of the tanh layer")
    hidden = call.shape("score_kernel")[-1]
    for name in ("query", "key"):
        kernel = f"{name}_kernel"
        if call.has(kernel):
            call.check_dtype(kernel)
            rule = f"{kernel} must have the shape (last size of {name}, a), a being the size of score_kernel"
            call.check_shape(kernel, (call.shape(name)[-1], hidden), rule)
        elif differ(call.shape(name)[-1], hidden):
            call.reject(
                f"without {kernel} the last size of {name} must be the size of score_kernel",
                f"{call.shape(name)[-1]} and {hidden}",
            )
    return sizes


def check_multiplicative_attention(
    operation: str, arrays: Mapping[str, Described | None], options: Mapping[str, Any]
) -> Sizes:
    """Check a call of `multiplicative_attention`, whose arrays may hold `score_kernel`."""
    call = _Call(operation, arrays, "multiplicative_attention")
    sizes = call.check_query_key_value(same_head_size=not call.has("score_kernel"))
    call.check_options(sizes, options)
    if call.has("score_kernel"):
        call.check_dtype("score_kernel")
        rule = "score_kernel must have the shape (last size of query, last size of key)"
        call.check_shape("score_kernel", (call.shape("query")[-1], call.shape("key")[-1]), rule)
    return sizes


def check_visible_keys(shape: Any, arrays: Mapping[str, Described | None], options: Mapping[str, Any]) -> None:
    """Check a call of `visible_keys`: a shape `(...,h,q,k)`, and arrays and options as in `check_attention`."""
    sizes = tuple(shape) if isinstance(shape, (tuple, list)) else ()
    if len(sizes) < 3 or not all(is_integer(size) and size >= 0 for size in sizes):
        reject("visible_keys", "shape must be (b,h,q,k), sizes of at least 0", repr(shape))
    call = _Call("visible_keys", {"bias": arrays["bias"], **arrays})  # first, for reals have the dtype of the first
    *batch, heads, queries, keys = sizes
    call.check_options(Sizes(tuple(batch), heads, heads, queries, keys, None, None), options)


def check_key_lengths(
    operation: str, key_lengths: Described, values: Sequence[int] | None, key_length: int, batch: Shape | None = None
) -> None:
    """Check lengths alone: integers, one for each row of a batch and, where they can be read, their values."""
    call = _Call(operation, {"key_lengths": key_lengths})
    call.check_per_row("key_lengths", key_lengths.shape if batch is None else batch)
    call.check_lengths("key_lengths", values, key_length)


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


class _Call(ArgumentChecks):
    """The arrays of one call, and the checks that several operations share."""

    def __init__(self, operation: str, arrays: Mapping[str, Described | None], row: str = ATTENTION.name) -> None:
        super().__init__(operation, {name: array for name, array in arrays.items() if array is not None}, {})
        self.row = OPERATIONS[row]
        self.sizes: Sizes
        self.first = next(iter(self.arrays.values()), Described((), ""))  # whose dtype the others share

    def has(self, name: str) -> bool:
        return name in self.arrays

    def shape(self, name: str) -> Shape:
        return self.arrays[name].shape

    def check_query_key_value(self, *, same_head_size: bool) -> Sizes:
        for name in ("query", "key", "value"):
            self.check_presence(name)
            self.check_dtype(name)
            self.check_rank(name, 3, _ROWS[name], at_least=True)
        query, key, value = self.shape("query"), self.shape("key"), self.shape("value")
        for name in ("key", "value"):
            other = self.shape(name)
            if len(other) != len(query) or (other[:-3] != query[:-3] and any_differ(other[:-3], query[:-3])):
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

    def check_options(self, sizes: Sizes, options: Mapping[str, Any]) -> None:
        """Check every option of the call by its row of the table, but for the kernels that score."""
        self.sizes, self.given = sizes, options
        for argument in self.row.named:
            is_option = argument.name in options and (
                options[argument.name] is not None or argument.default is not None
            )
            if (self.has(argument.name) or is_option) and set(argument.letters) <= set("bhgqkdv"):
                _KINDS[argument.kind](self, argument)
        self.check_dropout(options.get("dropout", 0.0))

    def check_real(self, argument: Argument) -> None:
        if self.has(argument.name):
            self.check_dtype(argument.name, _HINTS.get(argument.name, ""))
            self._check_axes(argument)

    def check_bool(self, argument: Argument) -> None:
        if self.has(argument.name):
            self.check_boolean(argument.name, _HINTS.get(argument.name, ""))
            self._check_axes(argument)

    def check_integer(self, argument: Argument) -> None:
        if self.has(argument.name):
            self.check_per_row(argument.name, self.sizes.batch)
        check_integers(self.name, argument.name, self.given.get(argument.name))
        if argument.range:
            self.check_lengths(argument.name, self.given.get(argument.name), self.sizes.key_length)

    def check_pair(self, argument: Argument) -> None:
        check_window(self.name, self.given[argument.name], self.shapes)

    def check_tap(self, argument: Argument) -> None:
        check_tap(self.name, self.given[argument.name])

    def check_dropout(self, rate: float) -> None:
        if rate > 0 and not self.has("dropout_mask"):
            self.reject("dropout needs a dropout_mask, which says what weights are kept", f"dropout={rate!r} alone")
        if rate == 0 and self.has("dropout_mask"):
            self.reject("dropout_mask needs the rate that it was drawn with as dropout", "dropout=0")

    def check_presence(self, name: str) -> None:
        if not self.has(name):
            self.reject(f"{name} must be given", None)

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
        if len(shape) != len(expected) or any_differ(shape, expected):
            self.reject(f"{rule}, here {shape_text(expected)}", shape_text(shape))

    def check_broadcast(self, name: str, target: Shape) -> None:
        shape = self.shape(name)
        if not broadcasts(shape, target):
            self.reject(f"{name} must broadcast to {shape_text(target)}", shape_text(shape))

    def check_lengths(self, name: str, values: Sequence[int] | None, key_length: int | None) -> None:
        for length in values or ():
            if length < 0 or (key_length is not None and length > key_length):
                self.reject(f"{name} must lie between 0 and the key length k = {key_length}", length)

    def _check_axes(self, argument: Argument) -> None:
        expected = self.sizes.shape(argument.letters)
        if argument.broadcasts:
            self.check_broadcast(argument.name, expected)
        else:
            layout = shape_letters(argument.letters)
            meaning = ", ".join(f"{letter} being the {LEGEND[letter]}" for letter in argument.letters)
            self.check_shape(argument.name, expected, f"{argument.name} must have the shape {layout}, {meaning}")

    def _check_same(self, left: int | None, right: int | None, rule: str) -> None:
        if differ(left, right):
            self.reject(rule, f"{left} and {right}")


_KINDS: Mapping[str, Callable[[_Call, Argument], None]] = {
    "real": _Call.check_real,
    "bool": _Call.check_bool,
    "integer": _Call.check_integer,
    "number": _Call.check_number,
    "flag": _Call.check_flag,
    "pair": _Call.check_pair,
    "tap": _Call.check_tap,
}
