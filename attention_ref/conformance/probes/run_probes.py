"""Everything that a subject answers about its dialect, each question within its time."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Iterator

from attention_ref.conformance.dialects.dialect import Dialect
from attention_ref.conformance.errors import UsageError
from attention_ref.conformance.peers import PEERS
from attention_ref.conformance.probes import Question, ask, questions
from attention_ref.conformance.subjects.base_subject import BaseSubject
from attention_ref.conformance.subjects.subject import Subject
from attention_ref.conformance.timeouts import Late, limited


def answers(subject: BaseSubject) -> Iterator[tuple[str, str]]:
    """Ask the attention of a subject everything: give the titles of the questions, and the answers.

    Raises:
        UsageError: when it has none, or is not called in this process.
    """
    if not isinstance(subject, Subject) or "attention" not in subject.operations:
        raise UsageError(f"{subject.name} has no attention in this process that could be asked")
    return _answers(subject)


def _answers(subject: Subject) -> Iterator[tuple[str, str]]:
    known = PEERS.get(subject.name)
    for question in questions().values():
        if not question.of or (known is not None and known.dialect in question.of):
            yield question.title, _answer(subject, question)


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
