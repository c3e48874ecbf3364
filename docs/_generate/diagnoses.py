"""What a diagnosis says of every wrong implementation of the tests, and which cases reject each."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple

from _generate.text import clause_link, prose
from attention_ref.conformance import Subject
from attention_ref.conformance.case import all_cases
from attention_ref.conformance.diagnosis import Diagnosis, diagnose_subject
from attention_ref.conformance.diagnosis.observation import observations
from attention_ref.spec.clauses import clauses
from tests.wrong_attentions import GALLERY as ATTENTIONS
from tests.wrong_attentions.other_mistakes import OTHER_MISTAKES
from tests.wrong_layers import GALLERY as LAYERS
from tests.wrong_layers.other_mistakes import MISTAKES


class Killed(NamedTuple):
    """A wrong implementation of the gallery.

    title: the mistake.
    clause: the clause that it breaks.
    operation, subject: the wrong operation.
    """

    title: str
    clause: str
    operation: str
    subject: Callable[..., Any]


def text_of(operation: str, subject: Callable[..., Any], name: str = "it") -> str:
    """Return the text of a diagnosis in a block."""
    return f"```text\n{diagnosis(operation, subject, name)}\n```"


@cache
def diagnosis(operation: str, subject: Callable[..., Any], name: str = "it") -> Diagnosis:
    """Run the diagnosis of a wrong implementation."""
    return diagnose_subject(Subject(name, "numpy", {operation: subject}), operation)


def others() -> str:
    """Show the diagnosis of every mistake that has no page of its own, with the code of the wrong attentions."""
    return "\n\n".join(
        part for operation, slug, code, subject in _others() for part in _shown(operation, slug, code, subject)
    )


def _others() -> Iterator[tuple[str, str, str, Callable[..., Any]]]:
    for wrong in OTHER_MISTAKES:
        yield "attention", wrong.slug, inspect.getsource(wrong), wrong().attention  # type: ignore[attr-defined]
    for mistake in MISTAKES:
        yield mistake.operation, mistake.slug, "", mistake.subject


def _shown(operation: str, slug: str, code: str, subject: Callable[..., Any]) -> Iterator[str]:
    yield f"## `{slug}` (`{operation}`)"
    if code:
        yield f"```python\n{code.strip()}\n```"
    yield text_of(operation, subject)


def kill_matrix() -> str:
    """List every wrong implementation of the gallery with the clauses whose cases reject it in float64."""
    lines = [
        "{.stacked}",
        "| Wrong implementation | Operation | Clause that it breaks | Its failing cases | Other clauses that fail |",
        "|---|---|---|---|---|",
    ]
    return "\n".join([*lines, *map(_row, _gallery())])


def _gallery() -> Iterator[Killed]:
    for wrong in ATTENTIONS:
        if "float64" in wrong.dtypes and not wrong.gradients() and not clauses()[wrong.clause].optional:
            yield Killed(wrong.title, wrong.clause, wrong.operation, wrong.function())
    for layer in LAYERS:
        if "float64" in layer.dtypes:
            yield Killed(layer.title, layer.clause, layer.operation, layer.subject)


def _row(wrong: Killed) -> str:
    subject = Subject(wrong.title, "numpy", {wrong.operation: wrong.subject})
    failed = {each.case.id for each in observations(subject, wrong.operation, "float64") if not each.is_right}
    listing = _clauses_of(wrong.operation)
    own = {case for case, listed in listing.items() if wrong.clause in listed} or {*listing}
    others = sorted({name for case in failed for name in listing[case]} - {wrong.clause})
    killed = f"{len(failed & own)} of {len(own)}"
    return (
        f"| {prose(wrong.title)} | `{wrong.operation}` | {clause_link(wrong.clause)} | {killed} | {_listed(others)} |"
    )


def _listed(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")


@cache
def _clauses_of(operation: str) -> Mapping[str, tuple[str, ...]]:
    return {
        case.id: tuple(name for name in case.clauses if name in clauses())
        for case in all_cases()
        if case.operation == operation and not case.cotangents and "float64" in case.dtypes
    }
