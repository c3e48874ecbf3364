"""The matrix of subjects and clauses: its columns, cells and JSON form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from attention_ref.conformance.check_results import CheckResults
from attention_ref.conformance.clause_verdicts import CONFORMS, FAILS, ClauseVerdict
from attention_ref.conformance.reports import formatting, json
from attention_ref.spec.clauses import clauses
from attention_ref.vectors.format_version import is_version_1

FORMAT_VERSION = 2
"""The version of the format, raised on incompatible changes."""

TITLE = "Attention: who conforms to what"

ALL, PART, BAD, BESIDE, NONE = "conforms", "conforms in part", "fails", "fails only with another", "unsupported"
"""The kinds of a cell: every case of the clause ran and passed; those that ran passed; some failed; some failed,
and all of these also depend on another clause that fails more often; none ran."""

SYMBOLS = {ALL: "✓", PART: "◐", BAD: "✗", BESIDE: "(✗)", NONE: "\N{EN DASH}"}

MEANINGS = {
    ALL: "every case of the clause ran and passed",
    PART: "every case that ran passed, others are unsupported",
    BAD: "a case failed",
    BESIDE: "every failed case also depends on another clause, which fails more often: look there first",
    NONE: "no case ran: neither passed nor failed",
}


@dataclass(frozen=True, eq=False)
class Column:
    """A subject in a matrix.

    Arguments:
        name: the name of the column, such as `keras.ops on jax`.
        report: the report of its check, or None.
        what: a description in one line.
        trouble: the reason for a missing report: `not installed: needs jax`, `stopped after 300 s`.
        lines: the last lines of its stderr, if it ended without a report.
        answers: its conventions by question.
    """

    name: str
    report: CheckResults | None = None
    what: str = ""
    trouble: str = ""
    lines: tuple[str, ...] = ()
    answers: Mapping[str, str] = field(default_factory=dict)

    @property
    def version(self) -> str:
        """The version of the subject, without the engine if the name contains it."""
        text = self.report.subject.version if self.report else ""
        version, on, engine = text.rpartition(" on ")
        return version if on and self.name.endswith(f" on {engine}") else text

    def verdict(self, clause: str) -> ClauseVerdict | None:
        """Return the verdict on a clause, or None if it was not checked."""
        found = self.report.clauses if self.report else []
        return next((verdict for verdict in found if verdict.id == clause), None)


def of(report: CheckResults) -> Column:
    """Return a report as a column."""
    return Column(report.subject.name, report)


def kind(verdict: ClauseVerdict) -> str:
    """Return the kind of a cell: a key of `SYMBOLS`."""
    if verdict.verdict == CONFORMS:
        return ALL if verdict.ran == verdict.cases else PART
    if verdict.verdict == FAILS:
        return BESIDE if verdict.only_with else BAD
    return NONE


def number(verdict: ClauseVerdict) -> str:
    """Return the number of a cell: the largest error / budget; empty if nothing ran or a failure is not numerical."""
    if verdict.error_ratio is None or kind(verdict) == NONE or (verdict.verdict == FAILS and verdict.error_ratio <= 1):
        return ""
    return formatting.short_ratio(verdict.error_ratio)


def rows(columns: Sequence[Column]) -> list[str]:
    """Return the clauses of a matrix, in the order of the specification, the optional ones last."""
    checked = {verdict.id: verdict for column in columns if column.report for verdict in column.report.clauses}
    order = [*clauses(), *checked]
    return sorted(checked, key=lambda name: (checked[name].is_optional, order.index(name)))


def header(columns: Sequence[Column], facts: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return the header of a matrix: the version of the specification, and the facts."""
    specs = sorted({each.report.spec for each in columns if each.report})
    return [("specification", ", ".join(specs)), *facts.items()]


def questions(columns: Sequence[Column]) -> list[str]:
    """Return every question that a column answers, in order of appearance."""
    return list(dict.fromkeys(question for column in columns for question in column.answers))


def data(columns: Sequence[Column], facts: Mapping[str, str]) -> dict[str, Any]:
    """Return a matrix as data for JSON; `schema/peers.json` describes it."""
    return {"format_version": FORMAT_VERSION, "facts": dict(facts), "peers": [_data(each) for each in columns]}


def read(found: Mapping[str, Any]) -> list[Column]:
    """Make columns from the data of a matrix; version 1 differs in the names of fields alone.

    Raises:
        ValueError: for a matrix of another version of the format than 2 and 1.
    """
    is_version_1(found, "matrices", FORMAT_VERSION)
    columns = []
    for item in found["peers"]:
        report = json.read(item["report"]) if item["report"] else None
        columns.append(Column(**{**item, "report": report, "lines": tuple(item["lines"])}))
    return columns


def _data(each: Column) -> dict[str, Any]:
    report = json.data(each.report) if each.report else None
    fields = {name: getattr(each, name) for name in ("name", "what", "trouble")}
    return {**fields, "lines": list(each.lines), "answers": dict(each.answers), "report": report}
