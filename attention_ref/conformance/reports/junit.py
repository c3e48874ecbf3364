"""Reports as JUnit XML for continuous integration: a test case for each case and dtype.

Unsupported cases and failures on which conformance does not depend (optional clauses, known failures) are skipped test
cases, so that the file passes exactly if the report does. Durations are not recorded.
"""

from __future__ import annotations

import re
from xml.etree import ElementTree

from attention_ref.conformance.check_results import CheckResults
from attention_ref.conformance.outcome import FAILED, PASSED, Result
from attention_ref.conformance.reports import formatting, summary

_NOT_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write(report: CheckResults) -> str:
    """Write a report as JUnit XML: one test suite."""
    suite = ElementTree.Element("testsuite", _texts(name=f"attention-ref {report.subject.name}", **_counts(report)))
    properties = ElementTree.SubElement(suite, "properties")
    for name, value in _properties(report).items():
        ElementTree.SubElement(properties, "property", _texts(name=name, value=value))
    for result in report.results:
        suite.append(_testcase(report, result))
    root = ElementTree.Element("testsuites", _texts(name="attention-ref", **_counts(report)))
    root.append(suite)
    ElementTree.indent(root, " ")
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode")


def _counts(report: CheckResults) -> dict[str, int]:
    failed = sum(_is_failure(report, result) for result in report.results)
    passed = sum(result.verdict == PASSED for result in report.results)
    tests = len(report.results)
    return {"tests": tests, "failures": failed, "errors": 0, "skipped": tests - failed - passed}


def _is_failure(report: CheckResults, result: Result) -> bool:
    return result.verdict == FAILED and report.decides(result) and not result.known


def _properties(report: CheckResults) -> dict[str, str]:
    found = {"subject": report.subject.name, "version": report.subject.version, "specification": report.spec}
    level = summary.level(report)
    return found | {"verdict": summary.verdict(report)} | ({"level": level} if level else {})


def _testcase(report: CheckResults, result: Result) -> ElementTree.Element:
    case = result.case
    place = f"{report.subject.name}.{case.operation}.{case.profile}"
    element = ElementTree.Element("testcase", _texts(classname=place, name=f"{case.id} {result.dtype}"))
    if _is_failure(report, result):
        failure = ElementTree.SubElement(element, "failure", _texts(message=_message(result), type=_type(result)))
        failure.text = _text("\n".join(_lines(report, result)))
    elif result.verdict == FAILED:
        kind = "optional, not decisive" if not report.decides(result) else "known to fail"
        ElementTree.SubElement(element, "skipped", _texts(message=f"{kind}: {_message(result)}"))
    elif result.verdict != PASSED:
        ElementTree.SubElement(element, "skipped", _texts(message=f"unsupported: {result.reason}"))
    return element


def _type(result: Result) -> str:
    return "mismatch" if result.mismatch else "fault"


def _message(result: Result) -> str:
    return next(formatting.found(result))


def _lines(report: CheckResults, result: Result) -> list[str]:
    case = result.case
    return [
        *formatting.found(result),
        f"catches: {case.catches}",
        *([f"references: {', '.join(case.references)}"] if case.references else []),
        *([f"clauses: {', '.join(case.clauses)}"] if case.clauses else []),
        *([f"it warned: {'; '.join(result.warnings)}"] if result.warnings else []),
        f"reproduce: {report.reproduce(case.id, result.dtype)}",
    ]


def _texts(**attributes: object) -> dict[str, str]:
    return {name: _text(str(value)) for name, value in attributes.items()}


def _text(text: str) -> str:
    """Replace control characters, which XML cannot represent."""
    return _NOT_XML.sub("\ufffd", text)
