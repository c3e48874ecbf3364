"""Subjects in this process: functions of arrays, and builders of layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from attention_ref.conformance.case import Case
from attention_ref.conformance.dialects import resolve
from attention_ref.conformance.dialects.adapter import adapted
from attention_ref.conformance.dialects.dialect import Dialect
from attention_ref.conformance.errors import HangError, UsageError
from attention_ref.conformance.frameworks import framework
from attention_ref.conformance.outcome import Answer
from attention_ref.conformance.subjects.base_subject import BaseSubject
from attention_ref.conformance.subjects.invoke import Invocation, shown
from attention_ref.conformance.timeouts import Late, limited
from attention_ref.spec.clauses import clauses


@dataclass(frozen=True)
class Subject(BaseSubject):
    """An implementation that is called in this process.

    Arguments:
        arrays: its kind of arrays, one of `conformance.KINDS`; `"keras"` are those of the engine that Keras runs on.
        operations: a function for each operation, `fn(query, key, value, *, mask=None, causal=False, ...)`, with the
            arguments and results of the function of that name in `attention_ref.spec`; for a layer a function
            `build(config, parameters)` that returns the layer. An option that the signature lacks is unsupported, and
            so is a call for which it raises `Unsupported`.
        gradients: functions for operations that the framework of the arrays cannot differentiate:
            `fn(query, key, value, *, cotangent, mask=None, ...)` returns the gradients of `sum(cotangent * output)` by
            input name. Other operations are differentiated by PyTorch, TensorFlow or JAX.
        dialect: the calling convention that its attention was adapted from; its notes on a clause are shown where
            that clause fails.
    """

    operations: Mapping[str, Callable[..., Any]]
    gradients: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    dialect: Dialect | None = field(default=None, kw_only=True)

    def answer(self, case: Case, dtype: str) -> Answer:
        """Call the operation of a case within the time limit."""
        function, gradient = self.operations[case.operation], self.gradients.get(case.operation)
        try:
            with limited(self.timeout):
                return Invocation(function, case, dtype, framework(self.arrays), gradient, self.is_room).answer()
        except Late as late:
            where = shown(late.frame) if late.frame else ""
            raise HangError(f"it does not return within {self.timeout:g} s", where) from None

    def require_installed(self) -> None:
        """Raise `UsageError` if its framework is not installed."""
        framework(self.arrays)

    def remarks(self) -> Mapping[str, str]:
        """Return the notes of its dialect by clause."""
        notes = {} if self.dialect is None else {clause: self.dialect.note(clause) for clause in clauses()}
        return {clause: f"noted in its dialect: {note}" for clause, note in notes.items() if note}


def subject_of(
    function: Callable[..., Any],
    name: str,
    operation: str = "attention",
    arrays: str | None = None,
    dialect: Dialect | str | None = None,
    **options: Any,
) -> Subject:
    """Return a subject for one function, adapted from a dialect if one is given.

    Raises:
        UsageError: for a dialect with an operation other than attention.
    """
    if dialect is None:
        return Subject(name, arrays or "numpy", {operation: function}, **options)
    if operation != "attention":
        raise UsageError(f"dialects exist for attention only, not for {operation}")
    found = resolve(dialect)
    return Subject(name, arrays or found.arrays, {operation: adapted(function, found)}, dialect=found, **options)
