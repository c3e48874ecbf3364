"""Lists of the cases, clauses and profiles of the kit, and an explanation of each."""

from __future__ import annotations

import json
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from attention_ref import vectors
from attention_ref.conformance.case import GRADIENTS, Case, all_cases, cases, foundations, profiles
from attention_ref.conformance.errors import reject
from attention_ref.spec.clauses import Clause, clauses
from attention_ref.spec.records import to_json

_WIDTH = 100
_FIRST = 5
"""How many cases of a clause are named."""


def listed_cases() -> dict[str, str]:
    """Return the bug that every case catches, by case id."""
    return {case.id: case.catches for case in all_cases()}


def listed_clauses() -> dict[str, str]:
    """Return the title of every clause, by clause id."""
    return {clause.id: clause.title + (" (optional)" if clause.optional else "") for clause in clauses().values()}


def listed_profiles() -> dict[str, str]:
    """Return the number of cases of every profile, by operation and name."""
    pairs = [(operation, profile) for operation in vectors.operations() for profile in profiles(operation)]
    return {f"{operation}/{profile}": f"{len(cases(operation, profile))} cases" for operation, profile in pairs}


def explain(name: str) -> str:
    """Return an explanation of a clause or a case. The part of a clause id after the dot is enough if it is unique."""
    found = _find(name)
    return _explain_case(found) if isinstance(found, Case) else _explain_clause(found)


def data(name: str) -> Mapping[str, Any]:
    """Return a clause with the ids of its cases, or a case as stored in the vectors."""
    found = _find(name)
    if isinstance(found, Clause):
        return {**asdict(found), "cases": [case.id for case in cases_of(found)]}
    name = found.id.replace(f"/{GRADIENTS}/", "/", 1)  # gradients are stored with their case
    document = vectors.load(found.operation, name.split("/")[1])
    return next(dict(item) for item in document["cases"] if item["id"] == name)


def cases_of(clause: Clause) -> list[Case]:
    """Return the cases that depend on a clause; for a foundation every case of its operations."""
    return [case for case in all_cases() if clause.id in case.clauses or clause in foundations(case.operation)]


def _find(name: str) -> Clause | Case:
    ends = [clause for clause in clauses().values() if clause.id == name or clause.id.partition(".")[2] == name]
    exact = [clause for clause in ends if clause.id == name]
    if exact or len(ends) == 1:
        return (exact or ends)[0]
    by_id = {case.id: case for case in all_cases()}
    if name not in by_id:
        reject("clause or case", name, [*clauses(), *by_id])
    return by_id[name]


def _explain_clause(clause: Clause) -> str:
    kinds = [word for word, is_so in (("optional", clause.optional), ("foundation", clause.foundation)) if is_so]
    head = f"{clause.id}: {clause.title}" + (f" ({', '.join(kinds)})" if kinds else "")
    parts = [head, _filled("", clause.statement), _filled("Why: ", clause.reason)]
    parts += [_filled("How others differ: ", clause.differ)] if clause.differ else []
    parts += ["\n".join(["Sources:", *(f"  {source}" for source in clause.sources)])] if clause.sources else []
    parts.append(_cases(clause, cases_of(clause)))
    return "\n\n".join(parts)


def _cases(clause: Clause, found: Sequence[Case]) -> str:
    """Count the cases of a clause by operation and profile, and name those that depend on the fewest other clauses."""
    if clause.foundation:
        return f"Cases: {len(found)}, every case of the operation"
    counts = Counter(case.id.rpartition("/")[0] for case in found)
    lines = [_filled(f"Cases: {len(found)}. ", ", ".join(f"{name} {count}" for name, count in counts.items()))]
    lines += [f"  {case.id}" for case in sorted(found, key=lambda case: len(case.clauses))[:_FIRST]]
    lines += (
        [f"  and {len(found) - _FIRST} more: attention-ref explain {clause.id} --json"] if len(found) > _FIRST else []
    )
    return "\n".join(lines)


def _explain_case(case: Case) -> str:
    titles = [f"  {name}: {clauses()[name].title if name in clauses() else ''}" for name in case.clauses]
    parts = [
        f"{case.id}, exact in {', '.join(case.dtypes)}",
        _filled("Catches: ", case.catches),
        *([_filled(f"Kind of bug: {case.bug}. ", vectors.bugs()[case.bug])] if case.bug else []),
        *(["\n".join(["References:", *(f"  {place}" for place in case.references)])] if case.references else []),
        *(["\n".join(["Clauses:", *titles])] if titles else []),
        *(_filled(f"Who differs on {name}: ", clauses()[name].differ) for name in case.clauses if _differs(name)),
        *([f"config: {json.dumps(to_json(case.call.config))}"] if case.call.config is not None else []),
        *([_filled("parameters: ", _shapes(case.call.parameters))] if case.call.parameters else []),
        *([f"in chunks of {', '.join(map(str, case.call.chunks))} new positions"] if case.call.chunks else []),
        *(_array(name, values) for name, values in case.call.inputs.items()),
        *([f"options: {json.dumps(case.call.options)}"] if case.call.options else []),
        *(_array(f"cotangent of {name}", values) for name, values in case.cotangents.items()),
        *(_array(_label(case, name), expected.values) for name, expected in case.expected.items()),
        *([_filled("intermediates: ", ", ".join(case.taps))] if case.taps else []),
        f"All values: attention-ref explain {case.id} --json",
    ]
    return "\n\n".join(parts)


def _label(case: Case, name: str) -> str:
    return f"expected gradient of {name}" if case.cotangents else f"expected {name}"


def _differs(clause: str) -> bool:
    return clause in clauses() and bool(clauses()[clause].differ)


def _shapes(arrays: Mapping[str, np.ndarray]) -> str:
    return ", ".join(f"{name} {tuple(array.shape)}" for name, array in arrays.items())


def _array(name: str, values: np.ndarray) -> str:
    text = np.array2string(values, threshold=96, max_line_width=_WIDTH, prefix="  ")
    return f"{name} {tuple(values.shape)}\n  {text}"


def _filled(label: str, text: str) -> str:
    return textwrap.fill(label + text, _WIDTH, break_long_words=False, break_on_hyphens=False)
