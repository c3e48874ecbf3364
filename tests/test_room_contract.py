"""The backends are translations of each other: the same files, names, order, signatures."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import attention_ref
from attention_ref.backends import ROOMS

PACKAGE = Path(attention_ref.__file__).parent
ONLY_IN_NUMPY = {"gradients.py"}
CALLS = {"__call__": "call", "forward": "call"}  # what a layer's call is named in a framework
OF_A_FRAMEWORK = {"draw_dropout_mask", "parts", "table"}  # randomness, and how a layer tells its parts
GIVEN_BY_A_FRAMEWORK = (", training=None", ", *, device=None", ", device=None")
AS_IN_THE_SPEC = ("attention.py", "masks.py")
NOT_OF_THE_OPERATION = ", implementation='auto'"  # which path a backend takes is no part of what is computed
NOT_EXPORTED = {"fused.py"}  # attention.py chooses it
LONGEST_FILE = 300
EXAMPLE = re.compile(r"\n+ +Example:\n(?: {8}.*\n)+")

Definition = ast.FunctionDef | ast.ClassDef


def files(room: str) -> set[str]:
    return {path.name for path in (PACKAGE / room).glob("*.py")}


def tree(room: str, file: str) -> ast.Module:
    return ast.parse((PACKAGE / room / file).read_text())


def public(body: list[ast.stmt]) -> Iterator[Definition]:
    for node in body:
        is_public = not node.name.startswith("_") or node.name in CALLS if isinstance(node, Definition) else False
        if is_public and node.name not in OF_A_FRAMEWORK:
            yield node


def signatures(body: list[ast.stmt], owner: str = "") -> list[str]:
    """Write the public functions, classes and methods in their order, without the types of arguments."""
    written = []
    for node in public(body):
        if isinstance(node, ast.ClassDef):
            written += [f"class {node.name}", *signatures(node.body, f"{node.name}.")]
        else:
            for argument in ast.walk(node.args):
                if isinstance(argument, ast.arg):
                    argument.annotation = None
            arguments = ast.unparse(node.args)
            for given in GIVEN_BY_A_FRAMEWORK:
                arguments = arguments.replace(given, "")
            written.append(f"{owner}{CALLS.get(node.name, node.name)}({arguments})")
    return written


def exported(room: str, file: str) -> list[str] | None:
    for node in tree(room, file).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return list(ast.literal_eval(node.value))
    return None


def is_private(file: str) -> bool:
    return file.startswith("_") and file != "__init__.py"


PUBLIC = sorted(file for file in files("numpy") - ONLY_IN_NUMPY if not is_private(file))


@pytest.mark.parametrize("folder", ROOMS[1:])
def test_rooms_have_the_same_files(folder: str) -> None:
    assert sorted(file for file in files(folder) if not is_private(file)) == PUBLIC


@pytest.mark.parametrize("folder", ROOMS[1:])
@pytest.mark.parametrize("file", PUBLIC)
def test_rooms_define_the_same_things_in_the_same_order(file: str, folder: str) -> None:
    assert signatures(tree(folder, file).body) == signatures(tree("numpy", file).body)


@pytest.mark.parametrize("folder", ROOMS[1:])
@pytest.mark.parametrize("file", PUBLIC)
def test_rooms_export_the_same_names(file: str, folder: str) -> None:
    assert exported(folder, file) == exported("numpy", file)


@pytest.mark.parametrize("file", AS_IN_THE_SPEC)
def test_a_room_has_the_signatures_of_the_spec(file: str) -> None:
    ours, spec = (signatures(tree(folder, file).body) for folder in ("numpy", "spec"))
    names = {signature.partition("(")[0] for signature in ours}
    ours = [signature.replace(NOT_OF_THE_OPERATION, "") for signature in ours]
    assert ours == [signature for signature in spec if signature.partition("(")[0] in names]


@pytest.mark.parametrize("folder", ROOMS)
def test_a_room_exports_what_its_files_define(folder: str) -> None:
    files_exported = sorted(set(PUBLIC) - NOT_EXPORTED)
    defined = [node.name for file in files_exported for node in public(tree(folder, file).body)]
    assert sorted(exported(folder, "__init__.py") or ()) == sorted(defined)


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_everything_public_has_a_docstring(path: Path) -> None:
    module = ast.parse(path.read_text())
    bare = [node.name for node in public(module.body) if not ast.get_docstring(node)]
    assert bare == []
    assert ast.get_docstring(module), "the file says nothing about itself"


@pytest.mark.parametrize("folder", ROOMS)
def test_a_room_file_is_short_beside_its_examples(folder: str) -> None:
    lengths = {file: len(EXAMPLE.sub("", (PACKAGE / folder / file).read_text()).splitlines()) for file in files(folder)}
    assert {file: length for file, length in lengths.items() if length > LONGEST_FILE} == {}


def test_a_changed_default_is_found() -> None:
    before, after = (ast.parse(f"def f(a: int, *, b: bool = {b}): ...").body for b in (True, False))
    assert signatures(before) == ["f(a, *, b=True)"] != signatures(after)
