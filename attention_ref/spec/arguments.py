"""The types of the table of operations: arguments, results and operations."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

from attention_ref.spec.records import Record, from_json

ArrayKind = Literal["real", "bool", "integer"]
"""The kind of the elements of an array, as in `attention_ref.spec.Array.dtype`."""
Kind = ArrayKind | Literal["number", "count", "flag", "choice", "pair", "record", "embedded", "like", "cache", "tap"]
"""Arrays, and: a real number; an integer; True or False; a name from a list; a pair of counts, None where open; a
configuration; what an embedding takes, integers or real numbers as it is configured; an array or a number of the dtype
to compute in; what an earlier call returned; a function that is called with every intermediate."""
Stage = Literal["score", "visibility", "weights", "result"]
"""The step of attention that uses an argument: it changes scores, hides keys, changes weights, or requests a result."""

REQUIRED = ...
"""The default of a required argument."""


@dataclass(frozen=True)
class Argument:
    """An argument of an operation.

    Arguments:
        name: its name in the specification and in every backend.
        kind: what it is.
        axes: of an array: by the letters of the shape legend. `...` stands for any axes; an axis in parentheses may be
            missing, and the array then broadcasts along it.
        default: its value if it is omitted; `REQUIRED` if it must not be omitted.
        stage: the step of attention that uses it.
        broadcasts: whether it broadcasts to its axes as in NumPy.
        without: two letters whose sizes must be equal if the argument is omitted.
        range: an interval of its numbers, such as `"[0, 1)"`; an end may be a letter of the legend.
        choices: the names that a choice is made from.
        hides: the value that hides a key from a query, if it is a rule of visibility; `any` if every value can.
        needs: arguments that must be given with it.
        modifies: arguments without any of which it has no effect.
        clause: the clause that defines its effect.
        profile: the profile of attention whose cases test it.
    """

    name: str
    kind: Kind
    axes: str = ""
    default: Any = REQUIRED
    stage: Stage | None = None
    broadcasts: bool = False
    without: str = ""
    range: str = ""
    choices: tuple[str, ...] = ()
    hides: str = ""
    needs: tuple[str, ...] = ()
    modifies: tuple[str, ...] = ()
    clause: str = ""
    profile: str = "core"

    @property
    def is_required(self) -> bool:
        """Whether it must not be omitted."""
        return self.default is REQUIRED

    @property
    def is_array(self) -> bool:
        """Whether it is an array."""
        return self.kind in ("real", "bool", "integer", "embedded")

    @property
    def is_data(self) -> bool:
        """Whether its value is data: not a cache, a tap or an array that only provides a dtype."""
        return self.kind not in ("like", "cache", "tap")

    @property
    def letters(self) -> str:
        """The letters of its axes."""
        return self.axes.strip(".").replace("(", "").replace(")", "")

    @property
    def is_per_row(self) -> bool:
        """Whether it is an integer for each batch row."""
        return self.kind == "integer" and self.letters == "b"

    @property
    def counts_positions(self) -> bool:
        """Whether it hides keys by their position, without an axis of keys."""
        return self.stage == "visibility" and "k" not in self.axes

    @property
    def limits(self) -> str:
        """The range in words that follow "a number"; empty if it has no ends."""
        low, high = self.range[1:-1].split(", ") if self.range else ("-inf", "inf")
        limits = []
        if low != "-inf":
            limits.append(f"of at least {low}" if self.range[0] == "[" else f"above {low}")
        if high != "inf":
            limits.append(f"of at most {high}" if self.range[-1] == "]" else f"below {high}")
        return "".join(f" {limit}" for limit in (" and ".join(limits),) if limit)

    def contains(self, number: Any, sizes: Mapping[str, int] | None = None) -> bool:
        """Return whether a number is in the range; `sizes` by letter, for ranges that end in a size."""
        if not self.range:
            return True
        low, high = (_end(text, sizes or {}) for text in self.range[1:-1].split(", "))
        is_above = low <= number if self.range[0] == "[" else low < number
        return is_above and (number <= high if self.range[-1] == "]" else number < high)


@dataclass(frozen=True)
class Result:
    """A result of an operation.

    Arguments:
        name: its name.
        axes: by the letters of the shape legend; empty for a cache.
        asked_by: the flag that requests it; always returned when empty.
        precision: whether it has the dtype of the tensors (`storage`) or of the arithmetic.
    """

    name: str
    axes: str
    asked_by: str = ""
    precision: Literal["storage", "arithmetic"] = "storage"


@dataclass(frozen=True)
class Operation:
    """An operation: its arguments and its results.

    Arguments:
        name: its name in the specification and in every backend.
        module: the file that defines it, the same in every backend.
        group: the first part of the ids of its clauses.
        positional: arguments that are passed by position, in order.
        named: arguments that are passed by name, in the order of the signature.
        results: in the order in which they are returned.
        record: the type of its configuration, if it has one.
        is_layer: whether it is a layer, built by `layer(config, parameters)` and then called.
    """

    name: str
    module: str
    group: str
    positional: tuple[Argument, ...]
    named: tuple[Argument, ...] = ()
    results: tuple[Result, ...] = ()
    record: type[Record] | None = None
    is_layer: bool = False

    @property
    def arguments(self) -> Mapping[str, Argument]:
        """Every argument by its name, in order."""
        return {argument.name: argument for argument in (*self.positional, *self.named)}

    @property
    def options(self) -> tuple[str, ...]:
        """The names of the keyword arguments that are data, in order."""
        return tuple(argument.name for argument in self.named if argument.is_data)

    @property
    def independent_options(self) -> tuple[str, ...]:
        """The options that have an effect alone: neither modifiers of another option nor requests for a result."""
        return tuple(name for name in self.options if not (self[name].modifies or self[name].stage == "result"))

    @property
    def hiding(self) -> tuple[str, ...]:
        """The names of the arguments that can hide keys."""
        return tuple(argument.name for argument in self.named if argument.hides)

    @property
    def visibility(self) -> tuple[str, ...]:
        """The names of the arguments that determine which keys are visible."""
        return tuple(argument.name for argument in self.named if argument.hides or argument.stage == "visibility")

    @property
    def takes_like(self) -> bool:
        """Whether it takes `like`, an array that determines the dtype because no other argument has one."""
        return any(argument.kind == "like" for argument in self.named)

    @property
    def function(self) -> Any:
        """Its specification: a function, or the class of a layer."""
        return getattr(import_module(f"attention_ref.spec.{self.module}"), self.name)

    def __getitem__(self, name: str) -> Argument:
        """Return an argument by its name.

        Raises:
            KeyError: for a name that the operation does not have.
        """
        if name not in self.arguments:
            raise KeyError(f"{self.name} has no argument {name!r}; it has {', '.join(self.arguments)}")
        return self.arguments[name]

    def passed_by_position(self, given: Container[str]) -> tuple[str, ...]:
        """Return the names of the arguments that a call passes by position: the given ones, up to the first that is
        omitted.
        """
        names = [argument.name for argument in self.positional]
        count = next((place for place, name in enumerate(names) if name not in given), len(names))
        return tuple(names[:count])

    def returned(self, options: Mapping[str, Any]) -> tuple[Result, ...]:
        """Return the results of a call with these options."""
        return tuple(result for result in self.results if not result.asked_by or options.get(result.asked_by))

    def configuration(self, data: Any) -> Record | None:
        """Return the configuration of a call from its JSON; None if it has none."""
        return None if data is None or self.record is None else from_json(self.record, data)

    def says(self, name: str, value: Any) -> bool:
        """Return whether an argument with this value differs from the omitted argument."""
        default = self[name].default
        return value is not None and (not _is_plain(value) or default is REQUIRED or value != default)


def _end(text: str, sizes: Mapping[str, int]) -> float:
    return sizes[text] if text in sizes else float(text)


def _is_plain(value: Any) -> bool:
    return isinstance(value, (bool, int, float, str, tuple))
