"""Reports as JSON: write and read; the format is `schema/report.json`.

NaN and infinities are strings, as in the vectors.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from functools import cache
from typing import Any

from attention_ref.conformance.case import Case, cases
from attention_ref.conformance.check_results import CheckResults
from attention_ref.conformance.diagnosis.finding import Finding
from attention_ref.conformance.outcome import FAILED, NOT_ASKED, UNSUPPORTED, Mismatch, Result
from attention_ref.conformance.reports.findings import findings
from attention_ref.conformance.subjects.base_subject import BaseSubject
from attention_ref.vectors.array_forms import encoded
from attention_ref.vectors.call import Call
from attention_ref.vectors.format_version import is_version_1

FORMAT_VERSION = 2
"""The version of the format, raised on incompatible changes."""

_OF_THE_CASE = ("clauses", "catches", "bug", "references")
_AS_THEY_ARE = tuple(each.name for each in fields(Result) if each.name not in ("case", "mismatch"))


def write(report: CheckResults) -> str:
    """Write a report as JSON."""
    return json.dumps(data(report), indent=1, allow_nan=False)


def data(report: CheckResults) -> dict[str, Any]:
    """Return a report as data for JSON."""
    found = {
        "format_version": FORMAT_VERSION,
        "subject": report.subject.name,
        "version": report.subject.version,
        "arrays": report.subject.arrays,
        "is_room": report.subject.is_room,
        "spec": report.spec,
        "dtypes": list(report.dtypes),
        "passed": report.passed,
        "as_known": report.is_as_known,
        "level": asdict(report.level) if report.level else None,
        "binds_optional": report.binds_optional,
        "remarks": dict(report.remarks),
        "advice": report.advice,
        "suggested_dialect": report.suggested_dialect,
        "findings": [asdict(finding) for finding in findings(report)],
        "clauses": [asdict(verdict) for verdict in report.clauses],
        "results": [item(report, result) for result in report.results],
    }
    return dict(encoded(found))


def read(found: Mapping[str, Any]) -> CheckResults:
    """Make the results of a check from the data of a report.

    Cases are taken from the vectors; a case that the vectors lack has no arrays.

    Raises:
        ValueError: for a report of another version of the format than 2 and 1.
    """
    found = _current(found)
    lines = {(item["case"], item["dtype"]): item["reproduce"] for item in found["results"]}
    subject = {name: found[name] for name in ("arrays", "version", "is_room")}
    return CheckResults(
        BaseSubject(name=found["subject"], operations=(), **subject),
        tuple(found["dtypes"]),
        [_read_result(item) for item in found["results"]],
        lambda case, dtype: lines[case, dtype] or "",
        **{name: found[name] for name in ("binds_optional", "spec", "remarks")},
        advice=found.get("advice", ""),
        suggested_dialect=found.get("suggested_dialect", ""),
        explain=lambda: [_read_finding(item) for item in found.get("findings", ()) if item["deviation"]],
    )


def item(report: CheckResults, result: Result) -> dict[str, Any]:
    """Return one result of a report as data."""
    case = result.case
    found = {
        "case": case.id,
        **{name: getattr(case, name) for name in _OF_THE_CASE},
        "decides": report.decides(result),
        **{name: getattr(result, name) for name in _AS_THEY_ARE},
        "mismatch": asdict(result.mismatch) if result.mismatch else None,
        "reproduce": report.reproduce(case.id, result.dtype) if result.verdict == FAILED else None,
    }
    return dict(encoded(found))


def not_asked(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return the data of a result for a case that was not run because of earlier timeouts."""
    nothing = {"verdict": UNSUPPORTED, "reason": NOT_ASKED, "hangs": False, "known": "", "reproduce": None}
    return {**item, **nothing}


def _current(found: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the data of a report in the current format; a report of version 1 is converted."""
    if not is_version_1(found, "reports", FORMAT_VERSION):
        return found
    names = {"hunts": "catches", "seen": "references", "share": "error_ratio"}
    verdicts, results = (
        [{names.get(name, name): value for name, value in item.items()} for item in found[part]]
        for part in ("clauses", "results")
    )
    results = [{**item, "bug": ""} for item in results]
    return {**found, "format_version": FORMAT_VERSION, "clauses": verdicts, "results": results}


def _read_result(item: Mapping[str, Any]) -> Result:
    given: dict[str, Any] = {name: _read(item[name]) for name in _AS_THEY_ARE if name in item}
    given["error_ratio"] = None if item["error_ratio"] is None else float(item["error_ratio"])
    return Result(case=_case(item), mismatch=_mismatch(item["mismatch"]) if item["mismatch"] else None, **given)


def _read_finding(item: Mapping[str, Any]) -> Finding:
    return Finding(**{**item, "cases": tuple(item["cases"])})


def _mismatch(item: Mapping[str, Any]) -> Mismatch:
    numbers = {name: float(item[name]) for name in ("expected", "got", "error", "budget")}
    return Mismatch(**{**item, **numbers, "index": tuple(item["index"])})


def _case(item: Mapping[str, Any]) -> Case:
    operation, profile, *_ = f"{item['case']}//".split("/")
    if known := _cases(operation, profile).get(item["case"]):
        return known
    fields: dict[str, Any] = {name: _read(item[name]) for name in _OF_THE_CASE}
    return Case(item["case"], Call(operation, {}), profile, dtypes=(), expected={}, **fields)


def _read(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


@cache
def _cases(operation: str, profile: str) -> dict[str, Case]:
    try:
        return {case.id: case for case in cases(operation, profile)}
    except KeyError:
        return {}
