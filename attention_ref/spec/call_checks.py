"""The checks of one call by the table of operations: kinds, dtypes, axes, ranges and choices of all its arguments.

What the table cannot express, such as the even size that rotation needs, stands in `_RULES`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from attention_ref.spec.argument_checks import ArgumentChecks
from attention_ref.spec.arguments import Argument, Operation
from attention_ref.spec.errors import received_text, shape_letters, shape_text
from attention_ref.spec.functions import FUNCTIONS
from attention_ref.spec.operations import OPERATIONS
from attention_ref.spec.shapes import (
    LARGEST_INTEGER,
    LEGEND,
    REAL_DTYPES,
    Described,
    Shape,
    broadcasts,
    check_window,
    is_integer,
)

CHECKED: Mapping[str, Operation] = {**OPERATIONS, **FUNCTIONS}
"""What is checked by its row in a table."""


def check_call(operation: str, given: Mapping[str, Any]) -> None:
    """Check every argument of a call.

    Arguments:
        operation: its name in the table.
        given: the arguments by name: of an array its shape and dtype, anything else as the caller gave it. What is not
            known before the call runs is left out.

    Raises:
        SpecificationError: for anything that the specification does not define.
    """
    _Call(CHECKED[operation], given).check()


def check_call_once(operation: str, given: Mapping[str, Any]) -> None:
    """Check a call as `check_call` does, and remember calls that passed, for layers repeat theirs."""
    try:
        _remembered(operation, tuple(given), *given.values())
    except TypeError:  # an argument cannot be remembered
        check_call(operation, given)


@functools.lru_cache(maxsize=4096, typed=True)  # typed, for 1 is not True
def _remembered(operation: str, names: tuple[str, ...], *arguments: Any) -> None:
    check_call(operation, dict(zip(names, arguments, strict=True)))


class _Call(ArgumentChecks):
    """One call: its arguments, and the sizes that their axes have by the letters of the legend."""

    def __init__(self, operation: Operation, given: Mapping[str, Any]) -> None:
        arrays = {name: item for name, item in given.items() if type(item) is Described}
        super().__init__(operation.name, arrays, given)
        self.operation = operation
        self.sizes: dict[str, tuple[str, Shape]] = {}

    def check(self) -> None:
        arguments = [self.operation[name] for name in self.given]
        for argument in arguments:
            self._check_presence(argument)
        for argument in arguments:
            if self.given[argument.name] is not None:
                _KINDS[argument.kind](self, argument)
        spans = _SPANS.get(self.operation.name, _no_spans)(self)
        for argument in arguments:
            if argument.name in self.arrays and argument.axes not in ("", "..."):
                self._check_axes(argument, spans)
        _RULES.get(self.operation.name, _no_rule)(self)

    def _check_presence(self, argument: Argument) -> None:
        if self.given[argument.name] is None and argument.default is not None:
            self.reject(f"{argument.name} must be given", None)

    def check_real(self, argument: Argument) -> None:
        name = argument.name
        dtype = self.arrays[name].dtype
        if dtype not in REAL_DTYPES:
            self.reject(f"{name} must be float16, bfloat16, float32 or float64", dtype)
        first = next(other for other in self.arrays if self.operation[other].kind in ("real", "like"))
        if dtype != self.arrays[first].dtype:
            self.reject(f"{first} and {name} must have the same dtype", f"{self.arrays[first].dtype} and {dtype}")

    def check_boolean(self, argument: Argument) -> None:
        if self.arrays[argument.name].dtype != "bool":
            self.reject(f"{argument.name} must be boolean", self.arrays[argument.name].dtype)

    def check_integers(self, argument: Argument) -> None:
        dtype = self.arrays[argument.name].dtype
        if not dtype.startswith(("int", "uint")):
            self.reject(f"{argument.name} must be integers", dtype)

    def check_count(self, argument: Argument) -> None:
        count = self.given[argument.name]
        if not is_count(count) or not argument.contains(count):
            self.reject(f"{argument.name} must be an integer{argument.limits}", received_text(count))

    def check_choice(self, argument: Argument) -> None:
        choice = self.given[argument.name]
        if not isinstance(choice, str) or choice not in argument.choices:
            self.reject(f"{argument.name} must be {' or '.join(argument.choices)}", repr(choice))

    def check_pair(self, argument: Argument) -> None:
        check_window(self.operation.name, self.given[argument.name])

    def check_record(self, argument: Argument) -> None:
        kind, record = self.operation.record, self.given[argument.name]
        if kind is not None and not isinstance(record, kind):
            self.reject(f"{argument.name} must be a {kind.__name__}", type(record).__name__)

    def _check_axes(self, argument: Argument, spans: Mapping[str, int]) -> None:
        """Check the rank of an array, and that each of its sizes is that of the other arrays with this letter."""
        name, shape = argument.name, self.arrays[argument.name].shape
        letters = _letters(argument, len(shape), spans)
        if letters is None:
            self.reject(f"{name} must have the shape {_layouts(argument)}", shape_text(shape))
        start = len(shape) - sum(spans.get(letter, 1) for letter in letters)
        for letter in letters:
            size = shape[start : start + spans.get(letter, 1)]
            start += len(size)
            first, expected = self.sizes.setdefault(letter, (name, size))
            if any(None not in pair and pair[0] != pair[1] for pair in zip(size, expected, strict=True)):
                rule = f"{first} and {name} must have the same {LEGEND[letter]} {letter}"
                self.reject(rule, f"{_size_text(expected)} and {_size_text(size)}")

    def size(self, letter: str) -> Any:
        """Return the size of an axis; None where it is not known."""
        return self.sizes[letter][1][0] if letter in self.sizes else None


_KINDS: Mapping[str, Callable[[_Call, Argument], None]] = {
    "real": _Call.check_real,
    "like": _Call.check_real,
    "bool": _Call.check_boolean,
    "integer": _Call.check_integers,
    "number": _Call.check_number,
    "count": _Call.check_count,
    "flag": _Call.check_flag,
    "choice": _Call.check_choice,
    "record": _Call.check_record,
    "pair": _Call.check_pair,
}


def is_count(number: Any) -> bool:
    """Whether a number is an integer of int64; True and False are none."""
    return is_integer(number) and -LARGEST_INTEGER <= number <= LARGEST_INTEGER


def _letters(argument: Argument, rank: int, spans: Mapping[str, int]) -> str | None:
    """Return the letters of the last axes of an array of a rank; None where it cannot have this rank."""
    every = argument.letters
    needed = sum(spans.get(letter, 1) for letter in every)
    if rank == needed or (rank > needed and argument.axes.startswith("...")):
        return every
    _, is_optional, rest = argument.axes.partition(")")
    return rest if is_optional and rank == len(rest) else None


def _layouts(argument: Argument) -> str:
    letters = ", ".join(argument.letters)
    if argument.axes.startswith("..."):
        return f"(..., {letters})"
    _, is_optional, rest = argument.axes.partition(")")
    full = shape_letters(argument.letters)
    return f"{shape_letters(rest)} or {full}" if is_optional else full


def _size_text(size: Shape) -> str:
    return str(size[0]) if len(size) == 1 else shape_text(size)


def _no_spans(call: _Call) -> Mapping[str, int]:  # noqa: ARG001
    return {}


def _linear_spans(call: _Call) -> Mapping[str, int]:
    """Return how many axes m and f stand for: a kernel contracts `inputs` axes."""
    inputs, rank = call.given["inputs"], len(call.arrays["kernel"].shape)
    if rank <= inputs:
        call.reject(f"kernel must have more axes than the {inputs} that it contracts", f"a kernel of rank {rank}")
    return {"m": inputs, "f": rank - inputs}


_SPANS: Mapping[str, Callable[[_Call], Mapping[str, int]]] = {"linear": _linear_spans}


def _no_rule(call: _Call) -> None:
    """Check nothing beyond the table."""


def _check_model_size(call: _Call) -> None:
    if 0 in call.sizes["m"][1]:
        call.reject("the model size m must be at least 1", 0)


def _check_rotated_size(call: _Call) -> None:
    size, dimension = call.size("d"), call.given["config"].dimension
    if size is not None and (dimension or size) > size:
        call.reject("the rotary dimension must be at most the head size d", f"{dimension} and {size}")
    if size is not None and (dimension or size) % 2:
        call.reject("without a rotary dimension the head size d must be even", size)
    if size is not None:
        call.given["config"].check_factors(dimension or size)


def _check_frequencies(call: _Call) -> None:
    if call.given["dimension"] % 2:
        call.reject("dimension must be even", call.given["dimension"])


def _check_dropout(call: _Call) -> None:
    mask = call.arrays.get("dropout_mask")
    if mask is not None and not broadcasts(mask.shape, call.arrays["array"].shape):
        call.reject("dropout_mask must broadcast to array", shape_text(mask.shape))


def _check_sinusoid(call: _Call) -> None:
    size = call.given.get("size")
    smallest = 4 if call.given["config"].variant == "tensor2tensor" else 2
    if size is not None and (size % 2 or size < smallest):
        call.reject(f"size must be even and at least {smallest}", size)


def _check_buckets(call: _Call) -> None:
    rows, buckets = call.size("u"), call.given["config"].buckets
    if rows is not None and rows != buckets:
        call.reject("table must have a row for each bucket u of config", f"{rows} and {buckets}")


_RULES: Mapping[str, Callable[[_Call], None]] = {
    "linear": _check_model_size,
    "layer_norm": _check_model_size,
    "rms_norm": _check_model_size,
    "rotate": _check_rotated_size,
    "rotary_frequencies": _check_frequencies,
    "dropout": _check_dropout,
    "sinusoidal_positions": _check_sinusoid,
    "relative_bias": _check_buckets,
}
