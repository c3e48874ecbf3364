"""Where a subject comes from, as a new process is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from attention_ref.conformance.dialects.dialect import Dialect
from attention_ref.conformance.judge.loading import Loaded, load
from attention_ref.conformance.signatures import name_of

Function = Callable[..., Any]


@dataclass(frozen=True)
class Source:
    """Where the functions come from.

    Arguments:
        subject: the name of a callable that a new process imports, a callable that a forked process has, or a command.
        arrays, dialect: as in `judge`.
        device: as in `judge`.
        is_program: whether the subject is a command.
        folder: where files for a program are written.
        gradients: whether any are asked for.
        gradient: what returns them, as `subject`; None: automatic differentiation.
    """

    subject: Function | str
    arrays: str | None = None
    dialect: Dialect | str | None = None
    gradients: bool = False
    gradient: Function | str | None = None
    device: str | None = None
    is_program: bool = False
    folder: str | None = None

    @property
    def name(self) -> str:
        """The name of the subject."""
        return self.subject if isinstance(self.subject, str) else name_of(self.subject)

    @property
    def is_named(self) -> bool:
        """Whether a new process can import it all."""
        return isinstance(self.subject, str) and not callable(self.gradient) and not isinstance(self.dialect, Dialect)


def loaded(function: Function | str) -> Loaded:
    """Return a function, imported where it is named, with the dialect that its name implies."""
    return load(function) if isinstance(function, str) else Loaded(function)
