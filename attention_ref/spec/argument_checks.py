"""The checks of arguments that are numbers and flags, by their rows of the table, and the one way to reject a call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from attention_ref.spec.arguments import Argument
from attention_ref.spec.errors import received_text, reject
from attention_ref.spec.numbers import is_finite
from attention_ref.spec.shapes import Described, Shape


class ArgumentChecks:
    """The arguments of one call.

    Arguments:
        name: of the operation, to be reported.
        arrays: those of the call, described.
        given: the other arguments as the caller gave them.
    """

    def __init__(self, name: str, arrays: Mapping[str, Described], given: Mapping[str, Any]) -> None:
        self.name, self.arrays, self.given = name, arrays, given

    @property
    def shapes(self) -> dict[str, Shape]:
        """The shapes of the arrays that have axes."""
        return {name: array.shape for name, array in self.arrays.items() if array.shape}

    def reject(self, rule: str, received: object) -> NoReturn:
        """Raise `SpecificationError` with the shapes of the call."""
        reject(self.name, rule, received, self.shapes)

    def check_number(self, argument: Argument) -> None:
        """Check that an argument is a finite number in its range."""
        number = self.given[argument.name]
        if not is_finite(number) or not argument.contains(number):
            self.reject(f"{argument.name} must be a finite number{argument.limits}", received_text(number))

    def check_flag(self, argument: Argument) -> None:
        """Check that an argument is True or False."""
        flag = self.given[argument.name]
        if not isinstance(flag, bool):
            self.reject(f"{argument.name} must be True or False", repr(flag))
