"""The exceptions of the kit: a check that cannot be made, and what a subject does instead of computing numbers."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, NoReturn

_MOST_NAMES = 24


class UsageError(ValueError):
    """A check that cannot be made: a name that does not exist, a choice that selects nothing."""


class Unsupported(Exception):  # noqa: N818 - it is an answer, not an error
    """Raised by a subject for what it does not offer. The case counts as unsupported: neither passed nor failed."""


class MissingArguments(Unsupported):
    """Raised where a call needs arguments that the subject does not have."""

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__(f"no argument {', '.join(names)}")
        self.names = names


class SubjectError(Exception):
    """A failure that is no wrong number: an exception, a wrong type, shape or dtype, or a changed input.

    Arguments:
        reason: in one line.
        where: the line of code that raised, where one did.
    """

    def __init__(self, reason: str, where: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.where = where


class HangError(SubjectError):
    """There is no answer in time."""


class ConformanceError(AssertionError):
    """What was checked does not conform; the message is the report."""


def reject(what: str, name: str, known: Iterable[Any]) -> NoReturn:
    """Raise `UsageError` for a name that does not exist, with those that come close, or all when they are few."""
    names = [str(each) for each in known]
    text = f"there is no {what} {name!r}"
    if close := get_close_matches(name, names, n=3, cutoff=0.5):
        text += f"; did you mean {' or '.join(close)}?"
    if len(names) <= _MOST_NAMES:
        text += f"\n  there are: {', '.join(names)}" if names else ""
    else:
        text += "\n  `attention-ref list clauses` and `attention-ref list cases` show them all"
    raise UsageError(text)
