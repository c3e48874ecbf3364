"""Clauses as pages: the decision, its reason, how others differ, its sources and its cases."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatch

from _generate.text import capital, clause_link, fence, prose, thread
from attention_ref.conformance.case_heads import CaseHead, all_heads
from attention_ref.conformance.listings import cases_of
from attention_ref.spec.clauses import Clause, clauses


def chosen(*patterns: str) -> Iterator[Clause]:
    """Return the clauses whose ids match, in their order."""
    names = [name for name in clauses() if any(fnmatch(name, pattern) for pattern in patterns)]
    if not names:
        raise LookupError(f"no clause matches {' '.join(patterns)}")
    return (clauses()[name] for name in names)


def full(*patterns: str) -> str:
    """Write everything about the clauses that match, each under a heading that is its address."""
    return "\n\n".join(map(_clause, chosen(*patterns)))


def links(*patterns: str) -> str:
    """List the titles of the clauses that match, with links."""
    return "\n".join(f"- {clause_link(clause.id)}: {prose(clause.title)}" for clause in chosen(*patterns))


def decisions() -> str:
    """Write a table for each group of clauses: what is decided here, and how others differ."""
    groups: dict[str, list[Clause]] = {}
    for clause in clauses().values():
        groups.setdefault(clause.id.partition(".")[0], []).append(clause)
    return "\n\n".join(f"## {capital(group)}\n\n{_table(found)}" for group, found in groups.items())


def count() -> str:
    """Return the numbers of clauses and cases."""
    optional = sum(clause.optional for clause in clauses().values())
    return f"{len(clauses())} clauses ({optional} of them optional), {len(list(all_heads()))} cases."


HEADS = ["Decision", "How others differ"]


def _table(found: list[Clause]) -> str:
    rows = [[f"{clause_link(clause.id)} {capital(prose(clause.title))}.", prose(clause.differ)] for clause in found]
    lines = [line for row in [HEADS, *rows] for line in _row(row)]
    return "\n".join(["::::{list-table}", ":header-rows: 1", ":widths: 2 3", ":class: decisions", "", *lines, "::::"])


def _row(cells: list[str]) -> list[str]:
    return [f"{'* -' if i == 0 else '  -'} {cell}" for i, cell in enumerate(cells)]


def _clause(clause: Clause) -> str:
    parts = [
        f"({clause.id})=\n### `{clause.id}`",
        f'<span id="{clause.id}"></span>**{capital(prose(clause.title))}.**{_kind(clause)}',
        prose(clause.statement),
        f"Why\n: {prose(clause.reason)}",
        f"How others differ\n: {prose(clause.differ)}" if clause.differ else "",
        "\n".join(["Sources", *(f"{':' if i == 0 else ' '} - {prose(s)}" for i, s in enumerate(clause.sources))])
        if clause.sources
        else "",
        _cases(clause),
    ]
    return "\n\n".join(part for part in parts if part)


def _kind(clause: Clause) -> str:
    if clause.optional:
        return " *Optional: an implementation conforms without it.*"
    return " *Foundation: every case of the operation depends on it.*" if clause.foundation else ""


def _cases(clause: Clause) -> str:
    """List the cases; those that check the gradients of another one are counted, not listed again."""
    every = [] if clause.foundation else cases_of(clause)
    derived = [case for case in every if case.profile == "grad"]
    found = [case for case in every if case.profile != "grad"] or derived
    title = f"{len(found)} case{'s' * (len(found) != 1)}"
    title += f", {len(derived)} of them with gradients" if derived else ""
    return fence(f"dropdown {title}", "\n".join(map(_case, found))) if found else ""


def _case(case: CaseHead) -> str:
    seen = f" Seen in {', '.join(map(thread, case.references))}." if case.references else ""
    return f"- `{case.id}`: {prose(case.catches)}.{seen}"
