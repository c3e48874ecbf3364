"""One peer: a released function or layer, the dialect that it speaks, and how it is found."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import Any

from attention_ref.conformance.dialects import named
from attention_ref.conformance.dialects.dialect import Dialect, Exclusion
from attention_ref.conformance.errors import UsageError
from attention_ref.conformance.probes import ask


@dataclass(frozen=True)
class Peer:
    """A released attention.

    Arguments:
        description: what it is.
        dialect: the name of the one that it speaks.
        attention: `module:function`; a module of this folder begins with a dot. Empty where it has no such operation.
        modules: what must be installed.
        layers: `module:function` that builds a layer, by operation.
        excludes: what it does not offer, beside what no function of the dialect does.
        changes: fields of the dialect that are others here.
    """

    description: str
    dialect: str
    attention: str = ""
    modules: tuple[str, ...] = ()
    layers: Mapping[str, str] = field(default_factory=dict)
    excludes: tuple[Exclusion, ...] = ()
    changes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def spoken(self) -> Dialect:
        """The dialect that it speaks."""
        dialect = named(self.dialect)
        return replace(dialect, exclusions=(*self.excludes, *dialect.exclusions), **self.changes)

    def answer(self, question: str) -> str:
        """Ask its attention something, see `attention_ref.conformance.probes.run_probes`."""
        if not self.attention:
            raise UsageError(f"{self.description} has no attention to be asked")
        return ask(found(self.attention), self.spoken, question)

    @property
    def runs_on(self) -> str:
        """The kind of its arrays."""
        return named(self.dialect).arrays


def found(path: str) -> Callable[..., Any]:
    """Import `module:function`; a module of this folder begins with a dot."""
    module, _, name = path.partition(":")
    return getattr(import_module(module, __package__), name)
