"""The interface of a subject: what it is called, what it offers, and its answer to a case."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from attention_ref.conformance.case import Case
from attention_ref.conformance.outcome import Answer
from attention_ref.conformance.timeouts import TIMEOUT


@dataclass(frozen=True)
class BaseSubject:
    """What can be judged. A kind of subject defines `answer`.

    Arguments:
        name: what the report calls it.
        arrays: the kind of arrays that it takes and returns, or how they come: `"json"`, `"files"`.
        operations: the names of what it offers.
        claims: profiles that it says it supports: what is unsupported in them is a failure.
        version: of the library that it belongs to.
        is_room: whether it is a backend of this library, which optional clauses bind too.
        timeout: how many seconds an answer may take; None: as long as it takes.
    """

    name: str
    arrays: str
    operations: Collection[str]
    claims: tuple[str, ...] = field(default=(), kw_only=True)
    version: str = field(default="", kw_only=True)
    is_room: bool = field(default=False, kw_only=True)
    timeout: float | None = field(default=TIMEOUT, kw_only=True)

    option: ClassVar[str] = ""
    """The option of `attention-ref check` that its name is given to."""

    def answer(self, case: Case, dtype: str) -> Answer:
        """Return the results of a case in a dtype.

        Raises:
            HangError: when it takes too long.
            SubjectError: when it does not return arrays of the right number, shape and dtype.
            Unsupported: when it does not offer the call.
        """
        raise NotImplementedError(f"{self.name} cannot be asked here")

    def require_installed(self) -> None:
        """Raise `UsageError` where it needs a framework that is not installed."""

    def remarks(self) -> Mapping[str, str]:
        """Return what is known of it by clause, to be shown where that clause fails."""
        return {}
