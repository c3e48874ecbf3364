"""A call of an operation as data: its inputs, options, configuration and parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from attention_ref.spec import Array, Traced
from attention_ref.spec.arguments import Operation
from attention_ref.spec.dtypes import DTYPES
from attention_ref.spec.masks import visible_keys
from attention_ref.spec.operations import OPERATIONS
from attention_ref.spec.records import Record, to_json
from attention_ref.spec.taps import Tap
from attention_ref.vectors import array_forms
from attention_ref.vectors.array_forms import from_spec, to_spec


@dataclass(frozen=True, eq=False)
class Call:
    """A call of an operation.

    Arguments:
        operation: the name of the operation.
        inputs: arrays by argument name, float64 for real numbers, bool or int64.
        options: the other arguments.
        config: the configuration of the operation, or None.
        parameters: the parameters of a layer by name.
        chunks: the number of new positions of each batch row in each call, if a layer decodes with a cache.

    Raises:
        KeyError: for an input or an option that the operation lacks.
    """

    operation: str
    inputs: Mapping[str, np.ndarray]
    options: Mapping[str, Any] = field(default_factory=dict)
    config: Record | None = None
    parameters: Mapping[str, np.ndarray] = field(default_factory=dict)
    chunks: tuple[tuple[int, ...], ...] = ()

    def __post_init__(self) -> None:
        for name in self.given:
            self.table[name]

    @property
    def table(self) -> Operation:
        """The operation in the table."""
        return OPERATIONS[self.operation]

    @property
    def given(self) -> dict[str, Any]:
        """Inputs and options, by argument name."""
        return {**self.inputs, **self.options}

    @property
    def positional(self) -> tuple[str, ...]:
        """The names of positional arguments."""
        is_argument = self.config is not None and not self.table.is_layer
        return self.table.passed_by_position({*self.given, *(["config"] if is_argument else [])})

    @property
    def named(self) -> tuple[str, ...]:
        """The names of keyword arguments."""
        return tuple(name for name in self.given if name not in self.positional)

    @property
    def results(self) -> tuple[str, ...]:
        """The names of the results, in order."""
        return tuple(result.name for result in self.table.returned(self.options))

    def specified(
        self,
        make: Callable[[float], Any] = float,
        inputs: Mapping[str, Array] | None = None,
        parameters: Mapping[str, Array] | None = None,
        tap: Tap | None = None,
    ) -> dict[str, Array]:
        """Return the results of the specification, by name.

        Arguments:
            make: converts real inputs and parameters to the specification's number type.
            inputs, parameters: as arrays of the specification; converted by `make` if None.
            tap: called with every intermediate of a layer.
        """
        function = self.table.function
        given: dict[str, Any] = {**(inputs if inputs is not None else spec_arrays(self.inputs, make)), **self.options}
        if self.table.is_layer:
            parameters = parameters if parameters is not None else spec_arrays(self.parameters, make)
            function, given["tap"] = function(self.config, parameters), tap
        elif self.config is not None:
            given["config"] = self.config
        if self.table.takes_like:
            given["like"] = make(0.0)
        returned = function(**given)
        arrays = returned if isinstance(returned, tuple) else (returned,)
        results = zip(self.table.returned(self.options), arrays, strict=True)
        return {r.name: array.map(_stored) if r.precision == "storage" else array for r, array in results}

    def size(self, letter: str) -> int:
        """Return a size of attention by its letter in the shape legend."""
        for argument in self.table.positional:
            if letter in argument.letters:
                return int(self.inputs[argument.name].shape[argument.letters.index(letter) - len(argument.letters)])
        raise KeyError(letter)

    def shape(self, result: str) -> tuple[int, ...]:
        """Return the shape of a result of attention or of a layer."""
        if self.config is not None:
            config: Any = self.config
            leading = next(iter(self.inputs.values())).shape[:2]
            return (*leading, config.head.size if hasattr(config, "head") else config.sizes.output)
        axes = next(each.axes for each in self.table.results if each.name == result)
        return (*self.inputs["query"].shape[:-3], *(self.size(letter) for letter in axes[1:]))

    def changed(self, **changes: Any) -> Call:
        """Return the call with changed arguments; None removes one."""
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
        """Select indices along an axis of every array that has this axis and is not broadcast along it."""
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
        """Return which keys are visible to every query of attention, `(b,h,q,k)`."""
        shape = (*self.inputs["query"].shape[:-1], self.inputs["key"].shape[-2])
        rules = {name: to_spec(value) for name, value in self.given.items() if name in self.table.visibility}
        return from_spec(visible_keys(shape, **rules))

    def is_exact_in(self, dtype: str) -> bool:
        """Return whether a dtype represents every real input and parameter exactly."""
        arrays = (*self.inputs.values(), *self.parameters.values())
        numbers = {number for array in arrays if array.dtype.kind == "f" for number in array.ravel().tolist()}
        return dtype == "float64" or all(DTYPES[dtype].holds(number) for number in numbers)

    def to_json(self, *, parameter_kinds: bool = True) -> dict[str, Any]:
        """Return data for JSON, without the operation; empty fields are left out.

        Arguments:
            parameter_kinds: whether to write the kind of parameter arrays, always real; vectors leave it out.
        """
        parameters = {
            name: array_forms.to_json(array, with_kind=parameter_kinds) for name, array in self.parameters.items()
        }
        return {
            **({"config": to_json(self.config)} if self.config is not None else {}),
            **({"parameters": parameters} if parameters else {}),
            "inputs": {name: array_forms.to_json(array) for name, array in self.inputs.items()},
            "options": {name: list(each) if isinstance(each, tuple) else each for name, each in self.options.items()},
            **({"chunks": [list(chunk) for chunk in self.chunks]} if self.chunks else {}),
        }

    @classmethod
    def from_json(cls, operation: str, item: Mapping[str, Any]) -> Call:
        """Read a call of an operation; other keys are ignored. The arrays are read-only."""
        return cls(
            operation,
            _read(item["inputs"]),
            {name: tuple(each) if isinstance(each, list) else each for name, each in item["options"].items()},
            OPERATIONS[operation].configuration(item.get("config")),
            _read(item.get("parameters", {})),
            tuple(map(tuple, item.get("chunks", ()))),
        )


def spec_arrays(arrays: Mapping[str, np.ndarray], make: Callable[[float], Any]) -> dict[str, Array]:
    """Convert arrays to arrays of the specification, with real numbers converted by `make`."""
    return {name: to_spec(array, make) for name, array in arrays.items()}


def _stored(value: Any) -> Any:
    """Round results to the dtype of the tensors, if the specification has not."""
    is_computed = isinstance(value, Traced) and bool(value.parents) and value.precision != "storage"
    return value.stored() if is_computed else value


def _read(arrays: Mapping[str, Any]) -> dict[str, np.ndarray]:
    found = {name: array_forms.from_json(array) for name, array in arrays.items()}
    for array in found.values():
        array.flags.writeable = False
    return found
