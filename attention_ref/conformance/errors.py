"""The exceptions of the kit: usage errors, unsupported calls, and failures that are not numerical."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, NoReturn

_MOST_NAMES = 24
_LISTED_BY = {
    "subject": "`attention-ref list subjects`",
    "peer": "`attention-ref list subjects`",
    "profile": "`attention-ref list profiles`",
    "clause": "`attention-ref list clauses`",
    "case": "`attention-ref list cases`",
    "clause or case": "`attention-ref list clauses` and `attention-ref list cases`",
}
"""The commands that list the names of a kind."""


class UsageError(ValueError):
    """An invalid request: an unknown name, or a selection of no case."""


class Unsupported(Exception):  # noqa: N818 - an outcome, not an error
    """Raised by a subject for a call that it does not offer. The case then neither passes nor fails."""


class MissingArguments(Unsupported):
    """Raised if a call needs arguments that the subject lacks."""

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__(f"no argument {', '.join(names)}")
        self.names = names


class SubjectError(Exception):
    """A non-numerical failure: an exception, a wrong type, shape or dtype, or a mutated input.

    Arguments:
        reason: the failure in one line.
        where: the line of code that raised, if any.
    """

    def __init__(self, reason: str, where: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.where = where


class HangError(SubjectError):
    """A call that exceeded its time limit."""


class ConformanceError(AssertionError):
    """The subject does not conform; the message is the report."""


def reject(what: str, name: str, available: Iterable[Any]) -> NoReturn:
    """Raise `UsageError` for an unknown name, with similar names, and all names or the command that lists them."""
    names = [str(each) for each in available]
    text = f"there is no {what} {name!r}"
    if close := get_close_matches(name, names, n=3, cutoff=0.5):
        text += f"; did you mean {' or '.join(close)}?"
    if len(names) > _MOST_NAMES and what in _LISTED_BY:
        text += f"\n  list all {len(names)} with {_LISTED_BY[what]}"
    elif names:
        more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
        text += f"\n  choose from: {', '.join(names[:_MOST_NAMES])}{more}"
    raise UsageError(text)
