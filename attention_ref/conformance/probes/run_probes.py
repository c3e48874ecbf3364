"""Everything that a subject answers about its dialect, each question within its time."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from attention_ref.conformance.dialects.dialect import Dialect
from attention_ref.conformance.errors import UsageError
from attention_ref.conformance.probes import Question, ask, questions
from attention_ref.conformance.signatures import name_of
from attention_ref.conformance.subjects.base_subject import BaseSubject
from attention_ref.conformance.subjects.subject import Subject, subject_of
from attention_ref.conformance.timeouts import Late, limited


def answers(subject: BaseSubject, dialect: str = "") -> Iterator[tuple[str, str]]:
    """Ask the attention of a subject everything, and return the titles of the questions and the answers.

    Arguments:
        subject: what is asked.
        dialect: the name of the dialect of a released library, where it has one: some questions are about few.

    Raises:
        UsageError: when it has none, or is not called in this process.
    """
    if not isinstance(subject, Subject) or "attention" not in subject.operations:
        raise UsageError(f"{subject.name} has no attention in this process that could be asked")
    asked = (each for each in questions().values() if not each.of or dialect in each.of)
    return ((each.title, _answer(subject, each)) for each in asked)


def ask_everything(
    function: Callable[..., Any], *, arrays: str | None = None, dialect: Dialect | str | None = None
) -> dict[str, str]:
    """Ask an attention what it computes: what an empty row gives, whether True in a mask attends, and so on.

    Arguments:
        function, arrays, dialect: as in `conformance.check`.

    Returns:
        The answers by the titles of the questions: the name of what it computes, `error: ...` with what it raised, or
        `cannot be asked: ...` with what it lacks.
    """
    return dict(answers(subject_of(function, name_of(function), "attention", arrays, dialect)))


def _answer(subject: Subject, question: Question) -> str:
    function, dialect = subject.operations["attention"], subject.dialect
    if dialect is not None:
        function = getattr(function, "__wrapped__", function)
    try:
        with limited(subject.timeout), warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr):
            warnings.simplefilter("ignore")
            return ask(function, dialect or Dialect(arrays=subject.arrays), question)
    except Late:
        return f"error: it does not return within {subject.timeout:g} s"
