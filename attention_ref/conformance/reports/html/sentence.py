"""A subject in a sentence: on how many clauses it is right, and on which it differs."""

from __future__ import annotations

from attention_ref.conformance.check_results import CheckResults
from attention_ref.conformance.clause_verdicts import FAILS
from attention_ref.conformance.reports.formatting import count
from attention_ref.conformance.reports.html.elements import Content, anchor, link

_NAMES = {
    "attention.empty-row": "empty rows",
    "attention.hygiene": "hidden NaN",
    "attention.non-finite": "visible NaN",
    "attention.causal": "causal masks",
    "attention.heads": "shared heads",
    "attention.exclusion": "biases of -inf",
    "attention.finite-bias": "large biases",
    "attention.stability": "large scores",
    "attention.precision": "precision",
    "attention.key-lengths": "padding",
}
"""What a clause is about, where its id does not say it."""


def sentence(report: CheckResults) -> Content:
    """Return `right on 19 of 22 clauses; differs on: empty rows, hidden NaN`, with links to the clauses."""
    right, ran = report.right_on
    if not ran:
        return "no case ran"
    start = f"right on {right} of {count(ran, 'clause')}"
    differs = [clause for clause in report.clauses if clause.verdict == FAILS]
    chief = [clause for clause in differs if not clause.only_with] or differs
    names = [piece for clause in chief for piece in (", ", link(anchor("clause", clause.id), about(clause.id)))]
    more = len(differs) - len(chief)
    same = f", and in the same cases on {count(more, 'more clause')}" if more else None
    return [start, "; differs on: ", *names[1:], same] if names else start


def about(clause: str) -> str:
    """Return the topic of a clause in a word or two."""
    return _NAMES.get(clause, clause.rpartition(".")[2].replace("-", " "))
