"""One way to ask every kind of subject: a function of this process within its time, anything else by its own way."""

from __future__ import annotations

from attention_ref.conformance.case import Case
from attention_ref.conformance.errors import HangError
from attention_ref.conformance.invoke import call, shown
from attention_ref.conformance.outcome import Answer
from attention_ref.conformance.subjects.subject import Subject
from attention_ref.conformance.timeouts import Late, limited


def ask(subject: Subject, case: Case, dtype: str) -> Answer:
    """Give what a subject answers to a case.

    Raises:
        HangError: when it takes too long.
        SubjectError: when it does something else wrong than to compute other numbers.
        Unsupported: when it does not offer the call.
    """
    if subject.ask is not None:
        return subject.ask(case, dtype)
    try:
        with limited(subject.timeout):
            return call(subject, case, dtype)
    except Late as late:
        where = shown(late.frame) if late.frame else ""
        raise HangError(f"it does not return within {subject.timeout:g} s", where) from None
