"""The section of cases: the bug that each catches, references, arrays."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from attention_ref.conformance.case import Case
from attention_ref.conformance.outcome import FAILED
from attention_ref.conformance.reports.formatting import count
from attention_ref.conformance.reports.html import subject_section
from attention_ref.conformance.reports.html.elements import Markup, anchor, code, element, folded, join, link, terms
from attention_ref.conformance.reports.matrix import Column

_KINDS = {"f": "", "b": " bool", "i": " integer"}


def of(columns: Sequence[Column]) -> list[Case]:
    """Return the cases of all reports without duplicates."""
    results = (result for each in columns if each.report for result in each.report.results)
    return list({result.case.id: result.case for result in results}.values())


def section(columns: Sequence[Column]) -> Markup:
    """Write every case, collapsed by operation and profile."""
    groups: dict[str, list[Case]] = {}
    for case in of(columns):
        groups.setdefault(f"{case.operation}/{case.profile}", []).append(case)
    failures = _failures(columns)
    folds = (
        folded(join(code(name), f", {count(len(found), 'case')}"), (_case(case, failures) for case in found))
        for name, found in groups.items()
    )
    return element("section", element("h2", "Cases"), folds, id="cases")


def _failures(columns: Sequence[Column]) -> dict[str, list[Markup]]:
    found: dict[str, list[Markup]] = {}
    for each in columns:
        for result in each.report.results if each.report else ():
            if result.verdict == FAILED:
                text = f"{each.name} in {result.dtype}"
                found.setdefault(result.case.id, []).append(link(subject_section.failure_place(each, result), text))
    return found


def _case(case: Case, failures: Mapping[str, Sequence[Markup]]) -> Markup:
    arrays = [_shape(name, array) for name, array in case.call.inputs.items()]
    results = [_shape(name, expected.values) for name, expected in case.expected.items()]
    options = [f"{name} = {json.dumps(value)}" for name, value in case.call.options.items()]
    links = [piece for each in failures.get(case.id, ()) for piece in (", ", each)][1:]
    items = [
        ("catches", case.catches),
        ("references", ", ".join(case.references)),
        ("clauses", subject_section.clause_links(case.clauses)),
        ("exact in", ", ".join(case.dtypes)),
        ("inputs", ", ".join(arrays)),
        ("options", ", ".join(options)),
        ("cotangents", ", ".join(_shape(name, array) for name, array in case.cotangents.items())),
        ("parameters", ", ".join(_shape(name, array) for name, array in case.call.parameters.items())),
        ("expected", ", ".join(results)),
        ("fails in", links),
    ]
    return element("article", element("h4", code(case.id)), terms(items), class_="case", id=anchor("case", case.id))


def _shape(name: str, array: np.ndarray[Any, Any]) -> str:
    return f"{name} ({', '.join(map(str, array.shape))}){_KINDS.get(array.dtype.kind, '')}"
