"""A room's docstrings are the specification's, and its shape comments agree with the specification's.

A room may add sentences about what only a framework has: dtypes, devices, paths, training, initialisation, and an
example. The specification alone names sources and says how other libraries differ.
"""

from __future__ import annotations

import ast
import difflib
import inspect
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import attention_ref
from attention_ref.backends import ROOMS

PACKAGE = Path(attention_ref.__file__).parent
FILES = (
    "attention.py",
    "masks.py",
    "multihead.py",
    "latent.py",
    "feedforward.py",
    "experts.py",
    "block.py",
    "embedding.py",
    "model.py",
)
CALLS = {"__call__": "call", "forward": "call"}
NOT_COMPARED = re.compile(r"^(Source|How others differ|Example)\b")
ONLY_IN_A_ROOM = re.compile(
    r"dtype|float16|autocast|keras|torch|numpy|state_dict|training|initialised|memory for|"
    r"do not match the configuration|^owner: |^implementation: |^See `attention_ref\.spec",
    re.IGNORECASE,
)
SHAPE = re.compile(r"^# \([a-z,/1*]+\)")

HEADING = re.compile(r"^(Arguments|Returns|Raises):$")
ENTRY = re.compile(r"^    [a-zA-Z]\w*(, [a-z]\w*)*(: |,$)")
EQUATION = re.compile(r"^        \w.* = |^        .*\S {4,}\S")


class Unit(NamedTuple):
    """A sentence, and the entry or paragraph that it is from."""

    text: str
    entry: str


Docstrings = dict[str, list[Unit]]
Shapes = dict[tuple[str, str], str]


def docstrings(source: str) -> Docstrings:
    """Return the units of every public docstring, by the name of its owner."""
    found: Docstrings = {}

    def visit(node: ast.Module | ast.ClassDef | ast.FunctionDef, name: str) -> None:
        text = ast.get_docstring(node)
        if text:
            found[name or "module"] = units(text)
        for child in node.body:
            if isinstance(child, ast.ClassDef | ast.FunctionDef) and not isinstance(node, ast.FunctionDef):
                own = CALLS.get(child.name, child.name)
                if not own.startswith("_"):
                    visit(child, f"{name}.{own}".strip("."))

    visit(ast.parse(source), "")
    return found


def units(text: str) -> list[Unit]:
    """Divide a docstring into the sentences of its entries, also at semicolons; a line of an equation is an entry."""
    found = []
    for paragraph in re.split(r"\n\s*\n", inspect.cleandoc(text)):
        if NOT_COMPARED.match(paragraph):
            continue
        entries: list[str] = []
        for line in paragraph.splitlines():
            if HEADING.match(line):
                continue
            if not entries or ENTRY.match(line) or EQUATION.search(line):
                entries.append(line.strip())
            else:
                entries[-1] += f" {line.strip()}"
        found += [Unit(part.rstrip("."), entry) for entry in entries for part in re.split(r"(?<=\.) |; ", entry)]
    return found


def difference(room: list[Unit], spec: list[Unit]) -> list[str]:
    """Return a unified diff of the specification's sentences and the room's, without those about a framework."""
    expected = [unit.text for unit in spec]
    entries = {unit.entry for unit in room if unit.text in expected}
    kept = []
    for unit in room:
        about = (
            unit.text if unit.entry in entries else unit.entry
        )  # an entry of the room alone may be about a framework
        if unit.text in expected or not ONLY_IN_A_ROOM.search(about):
            kept.append(unit.text)
    return [line for line in difflib.ndiff(expected, kept) if line[0] in "+-"]


def shape_comments(source: str) -> Shapes:
    """Return the shape comment of every assignment, by the function and the names that it assigns."""
    comments = {
        token.start[0]: token.string
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT and SHAPE.match(token.string)
    }
    return {
        (owner, ast.unparse(node.targets[0])): comments[node.end_lineno]
        for owner, node in assignments(ast.parse(source))
        if node.end_lineno in comments
    }


def assignments(node: ast.AST, owner: str = "") -> Iterator[tuple[str, ast.Assign]]:
    """Iterate over the assignments of a file with the names of the functions that they are in."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Assign):
            yield owner, child
        elif isinstance(child, ast.FunctionDef | ast.ClassDef):
            yield from assignments(child, f"{owner}.{CALLS.get(child.name, child.name)}".strip("."))
        else:
            yield from assignments(child, owner)


def read(folder: str, file: str) -> str:
    return (PACKAGE / folder / file).read_text()


@pytest.mark.parametrize("folder", ROOMS)
@pytest.mark.parametrize("file", FILES)
def test_a_room_has_the_docstrings_of_the_spec(file: str, folder: str) -> None:
    ours, spec = docstrings(read(folder, file)), docstrings(read("spec", file))
    shared = [name for name in ours if name in spec]
    assert len(shared) > 1
    assert {name: found for name in shared if (found := difference(ours[name], spec[name]))} == {}


@pytest.mark.parametrize("folder", ROOMS)
@pytest.mark.parametrize("file", FILES)
def test_a_step_of_a_room_has_the_shape_of_the_spec(file: str, folder: str) -> None:
    ours, spec = shape_comments(read(folder, file)), shape_comments(read("spec", file))
    assert {key: (ours[key], spec[key]) for key in ours if key in spec and ours[key] != spec[key]} == {}


def test_a_changed_sentence_and_a_changed_shape_are_found() -> None:
    text = "Attend.\n\nArguments:\n    query: `(b,q,m)`; real{}.\n    scale: {}.{}"
    spec = units(text.format("", "above 0", "\n\nSource: a paper."))
    assert difference(units(text.format("; any dtype", "above 0", "")), spec) == []
    changed = difference(units(text.format("; any size", "any", "")), spec)
    assert sorted(changed) == ["+ any size", "+ scale: any", "- scale: above 0"]
    assert shape_comments("def f(x):\n    y = x.mT  # (b,q,k)\n") == {("f", "y"): "# (b,q,k)"}
