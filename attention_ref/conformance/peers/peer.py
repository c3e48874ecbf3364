"""A peer: a released function or layer, its dialect, and the path to import it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import Any

from attention_ref.conformance.dialects import named
from attention_ref.conformance.dialects.dialect import Dialect, Exclusion
from attention_ref.conformance.errors import UsageError


@dataclass(frozen=True)
class Peer:
    """The attention of a released library.

    Arguments:
        description: the full name of the function or layer.
        dialect: the name of its dialect.
        attention: `module:function`; a module of this folder begins with a dot. Empty if it has no such operation.
        modules: the modules that must be installed.
        layers: `module:function` that builds a layer, by operation.
        excludes: exclusions in addition to those of the dialect.
        changes: fields of the dialect that differ for this peer.
        is_slow: whether it compiles for every shape, so that the command `peers` runs it only where it is named.
    """

    description: str
    dialect: str
    attention: str = ""
    modules: tuple[str, ...] = ()
    layers: Mapping[str, str] = field(default_factory=dict)
    excludes: tuple[Exclusion, ...] = ()
    changes: Mapping[str, Any] = field(default_factory=dict)
    is_slow: bool = False

    @property
    def own_dialect(self) -> Dialect:
        """Its dialect, with the exclusions and changes of this peer."""
        dialect = named(self.dialect)
        return replace(dialect, exclusions=(*self.excludes, *dialect.exclusions), **self.changes)

    def answer(self, question: str) -> str:
        """Return its answer to a question, see `attention_ref.conformance.probes.run_probes`."""
        if not self.attention:
            raise UsageError(f"{self.description} has no attention")
        from attention_ref.conformance.probes import ask

        return ask(found(self.attention), self.own_dialect, question)

    @property
    def runs_on(self) -> str:
        """Its array type."""
        return named(self.dialect).arrays


def found(path: str) -> Callable[..., Any]:
    """Import `module:function`; a module of this folder begins with a dot."""
    module, _, name = path.partition(":")
    return getattr(import_module(module, __package__), name)
