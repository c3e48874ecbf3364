"""The description of a subject from which a new process makes it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from attention_ref.conformance.dialects import resolve
from attention_ref.conformance.dialects.dialect import Dialect
from attention_ref.conformance.errors import UsageError
from attention_ref.conformance.frameworks import framework
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


def source_of(function: Function | str | None, program: str | None, folder: str, given: Mapping[str, Any]) -> Source:
    """Return where a subject comes from, checked as far as this process can.

    Arguments:
        function, program: one of both.
        folder: as in `Source`.
        given: the other arguments of `Source`.

    Raises:
        UsageError: for arguments that do not fit each other, and for a function that has to be named.
    """
    if program is not None and function is None:
        lost = [name for name in ("dialect", "gradient", "device") if given[name] is not None]
        if lost:
            raise UsageError(f"{', '.join(lost)} applies to a function only, not to a program")
        return Source(program, is_program=True, folder=folder, **given)
    if function is None or program is not None:
        raise UsageError("give a function or a program, and not both")
    dialect = resolve(given["dialect"]) if given["dialect"] is not None else None
    if isinstance(function, str):
        if ":" not in function and (given["arrays"] or dialect):
            raise UsageError(f"arrays and dialect are those of a function of yours; {function} defines its own")
        return Source(function, **given)
    arrays = framework(given["arrays"] or (dialect.arrays if dialect else "numpy"))
    if arrays.computes_after_fork():
        return Source(function, **given)
    if (name := _importable(function)) is None or callable(given["gradient"]):
        rule = "a copy of this process cannot compute, for it has computed already"
        raise UsageError(f"{arrays.name}: {rule}; name the function, as module:callable or path/to/file.py:callable")
    return Source(name, **given)


def _importable(function: Function) -> str | None:
    """Return the name by which another process imports a function; None where it has none, as a closure."""
    module, path = getattr(function, "__module__", None), getattr(function, "__qualname__", "")
    found: Any = sys.modules.get(module) if module and module != "__main__" else None
    for part in path.split("."):
        found = getattr(found, part, None)
    return f"{module}:{path}" if found is function else None


def loaded(function: Function | str) -> Loaded:
    """Return a function, imported where it is named, with the dialect that its name implies."""
    return load(function) if isinstance(function, str) else Loaded(function)
