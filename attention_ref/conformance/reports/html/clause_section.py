"""The section of clauses: statement, reason, deviations of libraries, verdicts."""

from __future__ import annotations

from collections.abc import Sequence

from attention_ref.conformance.reports import matrix
from attention_ref.conformance.reports.formatting import count
from attention_ref.conformance.reports.html import case_section, subject_section
from attention_ref.conformance.reports.html.elements import Content, Markup, anchor, code, element, folded, link, terms
from attention_ref.conformance.reports.matrix import Column
from attention_ref.spec.clauses import Clause, clauses


def section(columns: Sequence[Column]) -> Markup:
    """Write every clause that a report has a verdict on."""
    found = (_clause(name, columns) for name in matrix.rows(columns))
    return element("section", element("h2", "Clauses"), found, id="clauses")


def _clause(name: str, columns: Sequence[Column]) -> Markup:
    clause = clauses().get(name)
    kinds = [word for word in ("optional", "foundation") if clause and getattr(clause, word)]
    return element(
        "article",
        element("h3", code(name), (element("em", f" {kind}") for kind in kinds)),
        element("p", element("strong", clause.title)) if clause else None,
        element("p", clause.statement) if clause else None,
        terms(_verdicts(name, columns), class_="verdicts"),
        _more(clause) if clause else None,
        _cases(name, columns),
        class_="clause",
        id=anchor("clause", name),
    )


def _verdicts(name: str, columns: Sequence[Column]) -> list[tuple[Content, Content]]:
    """Return the subjects grouped by their verdict on a clause."""
    by_kind: dict[str, list[Markup]] = {kind: [] for kind in matrix.SYMBOLS}
    for each in columns:
        if verdict := each.verdict(name):
            by_kind[matrix.kind(verdict)] += [link(subject_section.place(each, name), each.name)]
    return [(f"{matrix.SYMBOLS[kind]} {kind}", _separated(links)) for kind, links in by_kind.items()]


def _more(clause: Clause) -> Markup:
    items = [("why", clause.reason), ("how others differ", clause.differ)]
    sources = element("ul", (element("li", source) for source in clause.sources)) if clause.sources else None
    return folded("Why, how others differ, sources", terms([*items, ("sources", sources)]))


def _cases(name: str, columns: Sequence[Column]) -> Markup | None:
    found = [case for case in case_section.of(columns) if name in case.clauses]
    links = _separated([link(anchor("case", case.id), case.id) for case in found])
    return folded(f"{count(len(found), 'case')} that state it", element("p", links, class_="links")) if found else None


def _separated(links: Sequence[Markup]) -> Content:
    return [piece for each in links for piece in (", ", each)][1:]
