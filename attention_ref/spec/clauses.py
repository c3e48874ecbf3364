"""The clauses: the individual decisions of the specification, stored in `clauses.toml`."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True)
class Clause:
    """One decision of the specification.

    Arguments:
        id: the group of its operation and its own name, such as `attention.causal`.
        title: the decision in a few words.
        statement: what an implementation must do.
        reason: why it was decided so.
        differ: how released libraries differ, with the versions that were run or read.
        sources: papers, standards and discussions of the question.
        optional: whether an implementation conforms without meeting the clause.
        foundation: whether every case of the operation depends on the clause, so that no case needs to list it.
    """

    id: str
    title: str
    statement: str
    reason: str
    differ: str
    sources: tuple[str, ...]
    optional: bool = False
    foundation: bool = False


@cache
def clauses() -> Mapping[str, Clause]:
    """Return every clause by its id, in the order of the steps of the formula."""
    text = Path(__file__).with_name("clauses.toml").read_text(encoding="utf-8")
    tables = tomllib.loads(text)["clause"]
    return MappingProxyType({table["id"]: _clause(table) for table in tables})


def _clause(table: dict[str, Any]) -> Clause:
    text = {name: " ".join(table[name].split()) for name in ("statement", "reason", "differ")}
    return Clause(**{**table, **text, "sources": tuple(table["sources"])})
