"""What a matrix shows of a subject: its report, or why there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from attention_ref.conformance.check_results import CheckResults
from attention_ref.conformance.clause_verdicts import CONFORMS, FAILS, ClauseVerdict
from attention_ref.conformance.reports import formatting, json
from attention_ref.spec.clauses import clauses

FORMAT = 1
"""Raised when a program that reads matrices would have to change."""

TITLE = "Attention: who conforms to what"

ALL, PART, BAD, BESIDE, NONE = "conforms", "conforms in part", "fails", "fails only with another", "unsupported"
"""What a cell says: every case of the clause ran and is right; those that ran are right; some are wrong; some are
wrong, and all of these are cases of another clause that fails more often; none ran."""

SYMBOLS = {ALL: "✓", PART: "◐", BAD: "✗", BESIDE: "(✗)", NONE: "\N{EN DASH}"}

MEANINGS = {
    ALL: "every case of the clause ran and is right",
    PART: "every case that ran is right, others are unsupported",
    BAD: "a case is wrong",
    BESIDE: "every wrong case is also one of another clause, which fails more often: look there first",
    NONE: "no case ran, which is neither right nor wrong",
}


@dataclass(frozen=True, eq=False)
class Column:
    """A subject in a matrix.

    Arguments:
        name: what the matrix calls it, such as `keras.ops on jax`.
        report: the outcome of its check, or None.
        what: what it is, in a line.
        trouble: why there is no report: `not installed: needs jax`, `stopped after 300 s`.
        lines: the last lines that it wrote, where it ended without a report.
        answers: what it computes, by question.
    """

    name: str
    report: CheckResults | None = None
    what: str = ""
    trouble: str = ""
    lines: tuple[str, ...] = ()
    answers: Mapping[str, str] = field(default_factory=dict)

    @property
    def version(self) -> str:
        """The version of what was checked, without the engine where the name says it."""
        text = self.report.subject.version if self.report else ""
        version, on, engine = text.rpartition(" on ")
        return version if on and self.name.endswith(f" on {engine}") else text

    def verdict(self, clause: str) -> ClauseVerdict | None:
        """Give the verdict on a clause; None where it was not checked."""
        found = self.report.clauses if self.report else []
        return next((verdict for verdict in found if verdict.id == clause), None)


def of(report: CheckResults) -> Column:
    """Give a report as a column."""
    return Column(report.subject.name, report)


def kind(verdict: ClauseVerdict) -> str:
    """Say what a cell of a matrix shows: a key of `SYMBOLS`."""
    if verdict.verdict == CONFORMS:
        return ALL if verdict.ran == verdict.cases else PART
    if verdict.verdict == FAILS:
        return BESIDE if verdict.only_with else BAD
    return NONE


def number(verdict: ClauseVerdict) -> str:
    """Give the number of a cell: the worst share, unless nothing ran or what fails is no number."""
    if verdict.share is None or kind(verdict) == NONE or (verdict.verdict == FAILS and verdict.share <= 1):
        return ""
    return formatting.short_share(verdict.share)


def rows(columns: Sequence[Column]) -> list[str]:
    """Give the clauses of a matrix, in the order of the specification, the optional ones last."""
    checked = {verdict.id: verdict for column in columns if column.report for verdict in column.report.clauses}
    order = [*clauses(), *checked]
    return sorted(checked, key=lambda name: (checked[name].is_optional, order.index(name)))


def told(columns: Sequence[Column], facts: Mapping[str, str]) -> list[tuple[str, str]]:
    """Give what stands at the top of a matrix: the version of the specification, and the facts."""
    specs = sorted({each.report.spec for each in columns if each.report})
    return [("specification", ", ".join(specs)), *facts.items()]


def questions(columns: Sequence[Column]) -> list[str]:
    """Give every question that a column answers, in the order in which they come up."""
    return list(dict.fromkeys(question for column in columns for question in column.answers))


def data(columns: Sequence[Column], facts: Mapping[str, str]) -> dict[str, Any]:
    """Give a matrix as data for JSON; `schema/peers.json` describes it."""
    return {"format": FORMAT, "facts": dict(facts), "peers": [_data(each) for each in columns]}


def read(found: Mapping[str, Any]) -> list[Column]:
    """Make columns from the data of a matrix."""
    if found.get("format") != FORMAT:
        raise ValueError(f"this is format {found.get('format')!r} of matrices; format {FORMAT} is read")
    columns = []
    for item in found["peers"]:
        report = json.read(item["report"]) if item["report"] else None
        columns.append(Column(**{**item, "report": report, "lines": tuple(item["lines"])}))
    return columns


def _data(each: Column) -> dict[str, Any]:
    report = json.data(each.report) if each.report else None
    told = {name: getattr(each, name) for name in ("name", "what", "trouble")}
    return {**told, "lines": list(each.lines), "answers": dict(each.answers), "report": report}
