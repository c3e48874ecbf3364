"""Show the remark of the preflight on a subject before it is asked or diagnosed."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from attention_ref.commands.command import show

if TYPE_CHECKING:
    from attention_ref.conformance.subjects.base_subject import BaseSubject


def examined(subject: BaseSubject) -> BaseSubject:
    """Examine the attention of a subject and print the remark on it, if any, to stderr.

    Raises:
        PreflightError: if its attention cannot be called as the specification's is.
    """
    from attention_ref.conformance.subjects.examined_subject import examine_subject

    remark, dialect = examine_subject(subject)
    if remark:
        lines = dialect.splitlines()
        show("\n".join([f"{subject.name}: {remark}", *(f"    {line}" for line in lines), ""]), sys.stderr)
    return subject
