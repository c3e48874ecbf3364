"""Lists of the cases, clauses and profiles of the kit, and an explanation of each; arrays are read for a case alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from attention_ref import vectors
from attention_ref.conformance.case_heads import GRADIENTS, CaseHead, all_heads, foundations, heads, profiles
from attention_ref.conformance.errors import reject
from attention_ref.conformance.text_width import filled
from attention_ref.spec.clauses import Clause, clauses

_FIRST = 5
"""How many cases of a clause are named."""


def listed_cases() -> dict[str, str]:
    """Return the bug that every case catches, by case id."""
    return {head.id: head.catches for head in all_heads()}


def listed_clauses() -> dict[str, str]:
    """Return the title of every clause, by clause id."""
    return {clause.id: clause.title + (" (optional)" if clause.optional else "") for clause in clauses().values()}


def listed_profiles() -> dict[str, str]:
    """Return the number of cases of every profile, by operation and name."""
    pairs = [(operation, profile) for operation in vectors.operations() for profile in profiles(operation)]
    return {f"{operation}/{profile}": f"{len(heads(operation, profile))} cases" for operation, profile in pairs}


def explain(name: str) -> str:
    """Return an explanation of a clause or a case. The part of a clause id after the dot is enough if it is unique."""
    found = _find(name)
    if isinstance(found, Clause):
        return _explain_clause(found)
    from attention_ref.conformance.case_description import described

    return described(found)


def data(name: str) -> Mapping[str, Any]:
    """Return a clause with the ids of its cases, or a case as stored in the vectors."""
    found = _find(name)
    if isinstance(found, Clause):
        return {**asdict(found), "cases": [case.id for case in cases_of(found)]}
    name = found.id.replace(f"/{GRADIENTS}/", "/", 1)  # gradients are stored with their case
    document = vectors.load(found.operation, name.split("/")[1])
    return next(dict(item) for item in document["cases"] if item["id"] == name)


def cases_of(clause: Clause) -> list[CaseHead]:
    """Return the cases that depend on a clause; for a foundation every case of its operations."""
    founded = {operation for operation in vectors.operations() if clause in foundations(operation)}
    return [head for head in all_heads() if clause.id in head.clauses or head.operation in founded]


def _find(name: str) -> Clause | CaseHead:
    ends = [clause for clause in clauses().values() if clause.id == name or clause.id.partition(".")[2] == name]
    exact = [clause for clause in ends if clause.id == name]
    if exact or len(ends) == 1:
        return (exact or ends)[0]
    by_id = {head.id: head for head in all_heads()}
    if name not in by_id:
        reject("clause or case", name, [*clauses(), *by_id])
    return by_id[name]


def _explain_clause(clause: Clause) -> str:
    kinds = [word for word, is_so in (("optional", clause.optional), ("foundation", clause.foundation)) if is_so]
    head = f"{clause.id}: {clause.title}" + (f" ({', '.join(kinds)})" if kinds else "")
    parts = [head, filled("", clause.statement), filled("Why: ", clause.reason)]
    parts += [filled("How others differ: ", clause.differ)] if clause.differ else []
    parts += ["\n".join(["Sources:", *(f"  {source}" for source in clause.sources)])] if clause.sources else []
    parts.append(_cases(clause, cases_of(clause)))
    return "\n\n".join(parts)


def _cases(clause: Clause, found: Sequence[CaseHead]) -> str:
    """Count the cases of a clause by operation and profile, and name those that depend on the fewest other clauses."""
    if clause.foundation:
        return f"Cases: {len(found)}, every case of the operation"
    counts = Counter(case.id.rpartition("/")[0] for case in found)
    lines = [filled(f"Cases: {len(found)}. ", ", ".join(f"{name} {count}" for name, count in counts.items()))]
    lines += [f"  {case.id}" for case in sorted(found, key=lambda case: len(case.clauses))[:_FIRST]]
    lines += (
        [f"  and {len(found) - _FIRST} more: attention-ref explain {clause.id} --json"] if len(found) > _FIRST else []
    )
    return "\n".join(lines)
