"""The interface of a subject: its name, its operations, and its answer to a case."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from attention_ref.conformance.case import Case
from attention_ref.conformance.outcome import Answer
from attention_ref.conformance.timeouts import TIMEOUT


@dataclass(frozen=True)
class BaseSubject:
    """An implementation to check. Subclasses define `answer`.

    Arguments:
        name: its name in reports.
        arrays: its array type, or how arrays are exchanged: `"json"`, `"files"`.
        operations: the names of its operations.
        claims: profiles in which an unsupported case is a failure.
        version: the version of its library.
        is_room: whether it is a backend of this library, for which optional clauses count too.
        timeout: the time limit of an answer in seconds; None: no limit.
    """

    name: str
    arrays: str
    operations: Collection[str]
    claims: tuple[str, ...] = field(default=(), kw_only=True)
    version: str = field(default="", kw_only=True)
    is_room: bool = field(default=False, kw_only=True)
    timeout: float | None = field(default=TIMEOUT, kw_only=True)

    option: ClassVar[str] = ""
    """The option of `attention-ref check` that takes its name."""

    def answer(self, case: Case, dtype: str) -> Answer:
        """Return the results of a case in a dtype.

        Raises:
            HangError: if the time limit is exceeded.
            SubjectError: if it does not return the right number of arrays, with the right shape and dtype.
            Unsupported: if it does not support the call.
        """
        raise NotImplementedError(f"{self.name} cannot be called here")

    def require_installed(self) -> None:
        """Raise `UsageError` if it needs a framework that is not installed."""

    def remarks(self) -> Mapping[str, str]:
        """Return notes by clause id, to be shown where that clause fails."""
        return {}
