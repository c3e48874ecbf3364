"""Run all questions on a subject, each within its time limit."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from attention_ref.conformance.dialects.dialect import Dialect
from attention_ref.conformance.errors import UsageError
from attention_ref.conformance.probes import Question, questions
from attention_ref.conformance.probes import ask as answer_of
from attention_ref.conformance.signatures import name_of
from attention_ref.conformance.subjects.base_subject import BaseSubject
from attention_ref.conformance.subjects.examined_subject import examine_subject
from attention_ref.conformance.subjects.subject import Subject, subject_of
from attention_ref.conformance.timeouts import Late, limited


def answers(subject: BaseSubject, dialect: str = "") -> Iterator[tuple[str, str]]:
    """Return the titles of all questions and the answers of a subject's attention.

    Arguments:
        subject: the subject.
        dialect: the name of its built-in dialect, if any; some questions apply to few dialects.

    Raises:
        UsageError: if it has no attention, or is not called in this process.
    """
    if not isinstance(subject, Subject) or "attention" not in subject.operations:
        raise UsageError(f"{subject.name} is not an attention that is called in this process")
    asked = (each for each in questions().values() if not each.of or dialect in each.of)
    return ((each.title, _answer(subject, each)) for each in asked)


def ask(
    function: Callable[..., Any], *, arrays: str | None = None, dialect: Dialect | str | None = None
) -> dict[str, str]:
    """Determine the conventions of an attention: its result for an empty row, the meaning of True in a mask, and so on.

    Arguments:
        function, arrays, dialect: as in `conformance.check`.

    Returns:
        The answers by the titles of the questions: the name of a convention, `error: ...` with the exception, or
        `cannot be asked: ...` with the reason.

    Raises:
        UsageError: for a function that cannot be called so, with what to change, see `conformance.PreflightError`.

    Example:
        >>> ask(attention)["True in a mask"]
        'attends'
    """
    subject = subject_of(function, name_of(function), "attention", arrays, dialect)
    examine_subject(subject)
    return dict(answers(subject))


def _answer(subject: Subject, question: Question) -> str:
    function, dialect = subject.operations["attention"], subject.dialect
    if dialect is not None:
        function = getattr(function, "__wrapped__", function)
    try:
        with limited(subject.timeout), warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr):
            warnings.simplefilter("ignore")
            return answer_of(function, dialect or Dialect(arrays=subject.arrays), question)
    except Late:
        return f"error: it does not return within {subject.timeout:g} s"
