"""The gallery: every wrong implementation that the tests keep, as they keep it, and what catches it."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from _generate.clauses import chosen
from _generate.diagnoses import diagnosis, text_of
from _generate.text import capital, clause_link, prose, thread
from attention_ref.conformance import Case, Subject, check_subject
from attention_ref.conformance.case import all_cases
from attention_ref.conformance.outcome import Result
from attention_ref.spec.clauses import Clause
from tests.wrong_attentions import GALLERY as ATTENTIONS
from tests.wrong_attentions import WrongAttention
from tests.wrong_layers import GALLERY as LAYERS
from tests.wrong_layers import (
    WrongLayer,
    blocks,
    experts,
    functions,
    latent_layers,
    lost_options,
    models,
    multihead,
    positions,
)

Wrong = type[WrongAttention] | WrongLayer
_MODULES = (positions, functions, multihead, latent_layers, experts, blocks, models, lost_options)
_DEFINED = (ast.FunctionDef, ast.ClassDef)


def entries(*patterns: str) -> str:
    """Show the wrong implementations that break the clauses that match, clause by clause."""
    return "\n\n".join(part for clause in chosen(*patterns) for part in _clause(clause))


def index(*patterns: str) -> str:
    """List them with links."""
    return "\n".join(
        f"- [{_title(wrong)}](#{anchor(wrong)}) ({clause_link(clause.id)})"
        for clause in chosen(*patterns)
        for wrong in of_clause(clause.id)
    )


def count() -> str:
    """Return the numbers of wrong attentions and layers."""
    return f"{len(ATTENTIONS)} wrong attentions and {len(LAYERS)} wrong layers."


def of_clause(clause: str) -> list[Wrong]:
    """Return the wrong implementations that break a clause."""
    return [wrong for wrong in (*ATTENTIONS, *LAYERS) if wrong.clause == clause]


def anchor(wrong: Wrong) -> str:
    """Return the address of an entry: of the class of a wrong attention, of the clause and title of a wrong layer."""
    if isinstance(wrong, WrongLayer):
        return re.sub(r"[^a-z0-9]+", "-", f"wrong {wrong.clause} {wrong.operation} {wrong.title}".lower()).strip("-")
    return f"wrong-{wrong.__name__}"


@cache
def catch(wrong: Wrong) -> Result:
    """Return the first failure of a case that lists the clause, or of any where none lists a foundation.

    Raises:
        LookupError: when no case catches it.
    """
    subject = _subject(wrong)
    cases = [case for case in all_cases() if case.operation == wrong.operation]
    listed = [case for case in cases if wrong.clause in case.clauses]
    for case in listed or cases:
        if failure := _failure(subject, case, wrong.dtypes):
            return failure
    raise LookupError(f"no case catches {anchor(wrong)}")


def _failure(subject: Subject, case: Case, dtypes: tuple[str, ...]) -> Result | None:
    held = [dtype for dtype in dtypes if dtype in case.dtypes]
    failures = check_subject(subject, cases=case.id, dtypes=held).failures if held else ()
    return next(iter(failures), None)


def _subject(wrong: Wrong) -> Subject:
    if isinstance(wrong, WrongLayer):
        return Subject(anchor(wrong), "numpy", {wrong.operation: wrong.subject})
    return Subject(anchor(wrong), "numpy", {wrong.operation: wrong.function()}, wrong.gradients())


def _clause(clause: Clause) -> Iterator[str]:
    found = of_clause(clause.id)
    if found:
        yield f"## `{clause.id}`"
        yield f"{clause_link(clause.id)}: {prose(clause.title)}."
        yield from (_entry(wrong, clause) for wrong in found)


def _entry(wrong: Wrong, clause: Clause) -> str:
    result = catch(wrong)
    facts = {
        "Instead": getattr(wrong, "instead", ""),
        "References": _seen(getattr(wrong, "references", "")) or ", ".join(map(thread, result.case.references)),
        "Elsewhere": "" if hasattr(wrong, "references") else clause.differ,
        "Correct": getattr(wrong, "correction", "") or clause.statement,
        "Caught by": f"`{result.case.id}` in {result.dtype}: {_what(result)}",
    }
    facts = {
        name: text if name in {"References", "Caught by"} else capital(prose(text)) for name, text in facts.items()
    }
    return "\n\n".join(
        [
            f"({anchor(wrong)})=\n### {_title(wrong)}",
            f'<span id="{anchor(wrong)}"></span>',
            f"```python\n{source(wrong)}\n```",
            *(f"{name}\n: {text}" for name, text in facts.items() if text),
            *_diagnosis(wrong),
        ]
    )


def _diagnosis(wrong: Wrong) -> Iterator[str]:
    """Show what a diagnosis says, where it finds more than that something is wrong."""
    subject = wrong.subject if isinstance(wrong, WrongLayer) else wrong.function()
    if (isinstance(wrong, WrongLayer) or not wrong.gradients()) and diagnosis(wrong.operation, subject).findings:
        yield "The diagnosis:"
        yield text_of(wrong.operation, subject)


def _title(wrong: Wrong) -> str:
    return f"{prose(wrong.title)} (`{wrong.operation}`)" if isinstance(wrong, WrongLayer) else prose(wrong.title)


def _seen(text: str) -> str:
    """Write who ships or shipped it, with links to threads."""
    if text.startswith("article"):
        return re.sub(r"\b[A-E]\b", lambda letter: f"[{letter[0]}](/articles/{letter[0].lower()}.md)", text)
    parts = re.split(r"([;,] )", text)
    return "".join(part if re.fullmatch(r"[;,] ", part) else _place(part) for part in parts)


def _place(text: str) -> str:
    return " ".join(thread(word) if "#" in word else prose(word) for word in text.split(" "))


def _what(result: Result) -> str:
    if result.mismatch is None:
        return prose(result.reason)
    off = result.mismatch
    place = ", ".join(map(str, off.index))
    return f"`{off.array}[{place}]` is {off.got:.6g} instead of {off.expected:.6g}"


def source(wrong: Wrong) -> str:
    """Return the code of an entry: the steps that a wrong attention replaces; what a wrong layer is made by."""
    return _layer_source(wrong) if isinstance(wrong, WrongLayer) else wrong.source().strip()


def _layer_source(wrong: WrongLayer) -> str:
    module, number = next((module, module.MISTAKES.index(wrong)) for module in _MODULES if wrong in module.MISTAKES)
    text, definitions, calls = _parsed(module)
    call = calls[number].args[3]
    names = _used(call, definitions)
    parts = [ast.get_source_segment(text, definitions[name]) or "" for name in definitions if name in names]
    made = ast.unparse(call)
    return "\n\n".join(part for part in [*parts, "" if made in definitions else f"subject = {made}"] if part)


@cache
def _parsed(module: ModuleType) -> tuple[str, dict[str, Any], list[Any]]:
    text = Path(inspect.getfile(module)).read_text()
    body = ast.parse(text).body
    definitions: dict[str, Any] = {each.name: each for each in body if isinstance(each, _DEFINED)}
    assigned = {each.targets[0].id: each for each in body if isinstance(each, ast.Assign) and _is_name(each.targets[0])}
    entries: list[Any] = []
    for each in assigned["MISTAKES"].value.elts:  # an entry, or the starred name of a tuple that a generator makes
        if isinstance(each, ast.Starred):
            (generator,) = assigned[each.value.id].value.args
            entries += [generator.elt] * len(getattr(module, each.value.id))
        else:
            entries.append(each)
    return text, definitions | {name: each for name, each in assigned.items() if name.startswith("_")}, entries


def _is_name(node: Any) -> bool:
    return isinstance(node, ast.Name)


def _used(node: Any, definitions: dict[str, Any]) -> set[str]:
    """Return the names of the module's own that a piece of code uses, and those that these use."""
    found: set[str] = set()
    waiting = [node]
    while waiting:
        names = {each.id for each in ast.walk(waiting.pop()) if isinstance(each, ast.Name)} & definitions.keys()
        waiting += [definitions[name] for name in names - found]
        found |= names
    return found
