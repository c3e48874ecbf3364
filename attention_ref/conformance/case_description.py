"""The description of a case: the bug that it catches, its clauses, its arrays and its expected results."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np

from attention_ref import vectors
from attention_ref.conformance.case import Case, cases
from attention_ref.conformance.case_heads import CaseHead
from attention_ref.conformance.text_width import WIDTH, filled
from attention_ref.spec.clauses import clauses
from attention_ref.spec.records import to_json


def described(head: CaseHead) -> str:
    """Return the description of a case."""
    case = next(case for case in cases(head.operation, head.profile) if case.id == head.id)
    titles = [f"  {name}: {clauses()[name].title if name in clauses() else ''}" for name in case.clauses]
    parts = [
        f"{case.id}, exact in {', '.join(case.dtypes)}",
        filled("Catches: ", case.catches),
        *([filled(f"Kind of bug: {case.bug}. ", vectors.bugs()[case.bug])] if case.bug else []),
        *(["\n".join(["References:", *(f"  {place}" for place in case.references)])] if case.references else []),
        *(["\n".join(["Clauses:", *titles])] if titles else []),
        *(filled(f"Who differs on {name}: ", clauses()[name].differ) for name in case.clauses if _differs(name)),
        *([f"config: {json.dumps(to_json(case.call.config))}"] if case.call.config is not None else []),
        *([filled("parameters: ", _shapes(case.call.parameters))] if case.call.parameters else []),
        *([f"in chunks of {', '.join(map(str, case.call.chunks))} new positions"] if case.call.chunks else []),
        *(_array(name, values) for name, values in case.call.inputs.items()),
        *([f"options: {json.dumps(case.call.options)}"] if case.call.options else []),
        *(_array(f"cotangent of {name}", values) for name, values in case.cotangents.items()),
        *(_array(_label(case, name), expected.values) for name, expected in case.expected.items()),
        *([filled("intermediates: ", ", ".join(case.taps))] if case.taps else []),
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
    text = np.array2string(values, threshold=96, max_line_width=WIDTH, prefix="  ")
    return f"{name} {tuple(values.shape)}\n  {text}"
