"""The table of answers: a row for each question, a column for each subject, a word in each cell."""

from __future__ import annotations

from collections.abc import Sequence

from attention_ref.conformance.probes.question import CANNOT_BE_ASKED, Question, questions
from attention_ref.conformance.reports import matrix
from attention_ref.conformance.reports.html import subject_section
from attention_ref.conformance.reports.html.elements import Markup, anchor, boxed, element, link
from attention_ref.conformance.reports.html.sentence import about
from attention_ref.conformance.reports.matrix import Column

_FIRST = ("empty-row", "mask-true", "causal-alignment", "nan-in-hidden-value", "mask-of-numbers", "default-scale")
"""The questions that are asked most stand first."""

_WORDS = {
    "the mean of the values": "mean",
    "as if nothing were hidden": "unmasked",
    "reaches the output": "leaks",
    "stays hidden": "hidden",
    "truth values: the mask is inverted": "inverted",
    "truth values": "boolean",
    "is hidden": "hides",
    "is added as 1": "added",
    "both hold": "both",
    "the mask alone": "mask",
    "the bias alone": "bias",
    "causal alone": "causal",
    "not causal": "ignored",
    "only the first key": "first key",
    "batch rows": "batch",
    "softcap, then bias": "softcap",
    "bias, then softcap": "bias",
    "keeps 2 keys": "2 keys",
    "keeps 3 keys": "3 keys",
    "before dropout": "before",
    "after dropout": "after",
    "1/sqrt(size)": "1/√size",
    "as numbers": "numbers",
    "something else": "other",
}
"""Answers of several words, in one."""

_ERROR = "error"


def section(columns: Sequence[Column], head: Markup) -> Markup | None:
    """Write the table; empty if no subject answered questions.

    Arguments:
        columns: of the table.
        head: its first row.
    """
    asked = matrix.questions(columns)
    if not asked:
        return None
    known = {question.title: question for question in questions().values()}
    first = [questions()[id].title for id in _FIRST]
    order = [*(title for title in first if title in asked), *(title for title in asked if title not in first)]
    clauses = set(matrix.rows(columns))
    rows = (_row(title, known.get(title), columns, clauses) for title in order)
    table = element("table", element("thead", head), element("tbody", rows), class_="answers columns")
    return element("section", element("h2", "What each computes"), boxed(table, "What each computes"), id="answers")


def place(each: Column) -> str:
    """Return the id of all answers of a subject."""
    return anchor("answers", each.name)


def _row(title: str, question: Question | None, columns: Sequence[Column], clauses: set[str]) -> Markup:
    clause = question.clause if question else ""
    target = link(anchor("clause", clause), about(clause)) if clause in clauses else None
    head = element("th", title, element("small", target) if target else None, scope="row")
    return element("tr", head, (_cell(each, title, question) for each in columns))


def _cell(each: Column, title: str, question: Question | None) -> Markup:
    answer = each.answers.get(title)
    if answer is None:
        return element("td")
    start = answer.partition(":")[0]
    word = _WORDS.get(answer) or {CANNOT_BE_ASKED: "\N{EN DASH}", _ERROR: _ERROR}.get(start, answer)
    words = element("span", f" {answer}", class_="aside") if word == "\N{EN DASH}" else None
    target = f"{subject_section.place(each)}" if not each.report else place(each)
    return element("td", link(target, word, words, title=answer), class_=_look(answer, start, question))


def _look(answer: str, start: str, question: Question | None) -> str | None:
    """Return the class of a cell: blue is the specification's answer, orange another, pale orange an error instead."""
    if start == CANNOT_BE_ASKED:
        return "none"
    if question is None:
        return None
    if question.is_specified(answer):
        return "all"
    return "beside" if start == _ERROR else "bad"
