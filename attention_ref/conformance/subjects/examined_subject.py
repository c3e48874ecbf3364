"""Examine the attention of a subject before it is checked, asked or diagnosed."""

from __future__ import annotations

from collections.abc import Callable

from attention_ref.conformance.plain_call import Caller
from attention_ref.conformance.preflight import NO_REMARK, examine
from attention_ref.conformance.subjects.base_subject import BaseSubject
from attention_ref.conformance.subjects.subject import Subject


def examine_subject(
    subject: BaseSubject, dtype: str = "float32", before: Callable[[], object] = lambda: None
) -> tuple[str, str]:
    """Call the attention of somebody else, see `preflight.examine`; not that of a room, a peer, or a dialect.

    Arguments:
        subject: the subject.
        dtype: of the arrays.
        before: called before every call.

    Returns:
        A remark and a dialect, or two empty strings.

    Raises:
        PreflightError: if its attention cannot be called as the specification's is.
    """
    if not isinstance(subject, Subject) or subject.dialect or subject.is_room or subject.version:
        return NO_REMARK
    if "attention" not in subject.operations:
        return NO_REMARK
    caller = Caller(dtype, subject.timeout, before)
    return examine(subject.operations["attention"], subject.arrays, caller, subject.name)
