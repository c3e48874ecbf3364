"""Calls that laws are about: what is given, and the shapes of what comes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from attention_ref.conformance.budget import Roundings
from attention_ref.conformance.case import Case, Expected
from attention_ref.spec import Array
from attention_ref.spec.arguments import Operation
from attention_ref.spec.dtypes import DTYPES
from attention_ref.spec.masks import visible_keys
from attention_ref.spec.operations import OPERATIONS
from attention_ref.spec.records import Record

_NONE = Roundings(*(np.zeros(()) for _ in range(4)))


@dataclass(frozen=True, eq=False)
class Call:
    """A call of an operation, on attention's arrays with one batch axis.

    Arguments:
        operation: its name.
        inputs: arrays by argument name, float64 for real numbers, bool or int64.
        options: the other arguments.
        config, parameters, chunks: as in `conformance.Case`, of a layer.
    """

    operation: str
    inputs: Mapping[str, np.ndarray]
    options: Mapping[str, Any] = field(default_factory=dict)
    config: Record | None = None
    parameters: Mapping[str, np.ndarray] = field(default_factory=dict)
    chunks: tuple[tuple[int, ...], ...] = ()

    @property
    def table(self) -> Operation:
        """What the table of operations says of it."""
        return OPERATIONS[self.operation]

    @property
    def results(self) -> tuple[str, ...]:
        """The names of what it returns."""
        return tuple(result.name for result in self.table.returned(self.options))

    def size(self, letter: str) -> int:
        """Give a size by its letter in the shape legend."""
        for argument in self.table.positional:
            if letter in argument.letters:
                return int(self.inputs[argument.name].shape[argument.letters.index(letter) - len(argument.letters)])
        raise KeyError(letter)

    def shape(self, result: str) -> tuple[int, ...]:
        """Give the shape of a result."""
        if self.config is not None:
            first = next(iter(self.inputs.values()))
            last: Any = self.config
            return (*first.shape[:2], last.head.size if hasattr(last, "head") else last.sizes.output)
        leading = self.inputs["query"].shape[:-3]
        axes = next(each.axes for each in self.table.results if each.name == result)
        return (*leading, *(self.size(letter) for letter in axes[1:]))

    def changed(self, **changes: Any) -> Call:
        """Give the call with other arguments; None leaves one out."""
        inputs, options = dict(self.inputs), dict(self.options)
        for name, value in changes.items():
            is_array = isinstance(value, np.ndarray)
            (options if is_array else inputs).pop(name, None)
            if value is None:
                options.pop(name, None)
            else:
                (inputs if is_array else options)[name] = value
        return replace(self, inputs=inputs, options=options)

    def taken(self, letter: str, chosen: Sequence[int]) -> Call:
        """Choose places along an axis of every array that has it and is not broadcast along it."""
        changes = {}
        for name, array in self.inputs.items():
            argument = self.table[name]
            letters = argument.letters[-array.ndim :] if array.ndim else ""
            if letter in letters:
                axis = letters.index(letter)
                is_broadcast = argument.broadcasts and array.shape[axis] == 1
                changes[name] = array if is_broadcast else np.take(array, chosen, axis=axis)
        return self.changed(**changes)

    def visible(self) -> np.ndarray:
        """Give the visibility of every key to every query, `(b,h,q,k)`."""
        shape = (*self.inputs["query"].shape[:-1], self.size("k"))
        given = {**self.inputs, **self.options}
        rules = {name: given[name] for name in self.table.visibility if name in given}
        return array_of(visible_keys(shape, **{name: spec_array(value) for name, value in rules.items()}), bool)

    def is_exact_in(self, dtype: str) -> bool:
        """Say whether a dtype holds every real number of the inputs and parameters; if not, it is another call."""
        arrays = (*self.inputs.values(), *self.parameters.values())
        numbers = {number for array in arrays if array.dtype.kind == "f" for number in array.ravel().tolist()}
        return dtype == "float64" or all(DTYPES[dtype].holds(number) for number in numbers)

    def case(self, name: str) -> Case:
        """Give the call as a case without truth."""
        expected = {
            result: Expected(np.broadcast_to(np.zeros(()), self.shape(result)), _NONE) for result in self.results
        }
        return Case(
            id=name,
            operation=self.operation,
            profile="laws",
            clauses=(),
            hunts="",
            seen=(),
            dtypes=(),
            inputs=self.inputs,
            options=self.options,
            expected=expected,
            config=self.config,
            parameters=self.parameters,
            chunks=self.chunks,
        )


def spec_array(value: Any) -> Any:
    """Give a NumPy array to the specification; everything else stays as it is."""
    if not isinstance(value, np.ndarray):
        return value
    names = {"f": "real", "b": "bool", "i": "integer"}
    return Array(value.shape, value.ravel().tolist(), names[value.dtype.kind])


def array_of(array: Array, dtype: type = float) -> np.ndarray:
    """Give an array of the specification to NumPy."""
    return np.array([dtype(value) for value in array.values], dtype).reshape(array.shape)
