"""Importing a part of the library imports only the packages that it needs."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

from attention_ref.commands import COMMANDS

FRAMEWORKS = ("numpy", "torch", "tensorflow", "keras", "jax")
PACKAGE = Path(__file__).parents[1] / "attention_ref"
COMMAND_FILES = [path for path in (PACKAGE / "commands").glob("*.py") if "\ndef add(" in path.read_text()]
BLOCK = "import sys; sys.modules['numpy'] = None; "


@pytest.mark.parametrize("name", ["torch", "keras"])
def test_a_backend_names_the_extra_that_installs_its_framework(name: str) -> None:
    code = f"import sys; sys.modules[{name!r}] = None; import attention_ref.{name}"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (
        f'attention_ref.{name} needs {name}, which is not installed: python -m pip install "attention-ref[{name}'
        in run.stderr
    )


def loaded(statement: str) -> set[str]:
    """Return the top-level modules that a statement loads in a new process."""
    code = f"import sys; before = set(sys.modules); {statement}; print(*(set(sys.modules) - before))"
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return {name.partition(".")[0] for name in run.stdout.split()}


@pytest.mark.parametrize(
    ("statement", "unwanted"),
    [
        ("import attention_ref", FRAMEWORKS),
        ("import attention_ref.cli", FRAMEWORKS),
        ("import attention_ref.plot", (*FRAMEWORKS, "matplotlib")),
        ("import attention_ref.spec", FRAMEWORKS),
        ("import attention_ref.vectors", (*FRAMEWORKS, "mpmath")),
        ("import attention_ref.conformance", (*FRAMEWORKS, "mpmath")),
        ("from attention_ref.conformance import *", (*FRAMEWORKS[1:], "mpmath")),
        ("import attention_ref.numpy", FRAMEWORKS[1:]),
        ("from attention_ref.numpy import *", FRAMEWORKS[1:]),
        ("import attention_ref.torch", ("tensorflow", "keras", "jax")),
    ],
)
def test_importing_loads_no_framework_that_is_not_needed(statement: str, unwanted: tuple[str, ...]) -> None:
    if statement.endswith(".torch"):
        pytest.importorskip("torch")
    assert loaded(statement) & set(unwanted) == set()


def modules_of(*arguments: str) -> set[str]:
    """Return the modules that a command has loaded at its end; what it prints is thrown away."""
    code = (
        "import contextlib, io, sys\nfrom attention_ref.cli import main\n"
        f"with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit): main({list(arguments)})\n"
        "print(*sys.modules)"
    )
    return set(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split())


@pytest.mark.parametrize(
    "arguments", [("explain", "attention.causal"), ("list",), ("list", "cases"), ("list", "clauses", "--json")]
)
def test_clauses_and_cases_are_listed_without_numpy(arguments: tuple[str, ...]) -> None:
    modules = modules_of(*arguments)
    assert modules & {*FRAMEWORKS, "attention_ref.spec.attention", "importlib.metadata"} == set()
    assert "attention_ref.conformance.case_heads" in modules


def test_help_loads_the_file_of_no_command() -> None:
    files = {f"attention_ref.commands.{path.stem}" for path in COMMAND_FILES}
    assert len(files) == len(COMMANDS)
    assert modules_of("--help") & files == set()
    assert modules_of("explain", "attention.causal") & files == {"attention_ref.commands.explain"}


def test_a_loaded_framework_is_seen() -> None:
    assert "numpy" in loaded("import attention_ref, numpy")


def test_the_spec_loads_the_standard_library_only() -> None:
    assert loaded("import attention_ref.spec") - {"attention_ref"} <= set(sys.stdlib_module_names)


def test_the_spec_runs_without_numpy() -> None:
    code = f"{BLOCK}from attention_ref import spec; print(spec.attention([[[1.0]]], [[[1.0]]], [[[2.0]]]).values)"
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert run.stdout.strip() == "[2.0]"


def test_numpy_can_be_blocked() -> None:
    assert (
        subprocess.run([sys.executable, "-c", f"{BLOCK}import numpy"], capture_output=True, check=False).returncode != 0
    )


LAZY = [
    ".".join(path.parent.relative_to(PACKAGE.parent).parts)
    for path in sorted(PACKAGE.rglob("__init__.py"))
    if "\nimport_when_used(" in path.read_text()
]


@pytest.mark.parametrize("package", LAZY)
def test_the_names_for_type_checkers_are_those_that_are_imported(package: str) -> None:
    tree = ast.parse((PACKAGE.parent / package.replace(".", "/") / "__init__.py").read_text())
    imports = {
        node.module: " ".join(alias.name for alias in node.names)
        for condition in tree.body
        if isinstance(condition, ast.If)
        for node in condition.body
        if isinstance(node, ast.ImportFrom) and node.module != "types"
    }
    [call] = [node.value for node in tree.body if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)]
    assert ast.literal_eval(call.args[1]) == imports
    names = {name: module for module, text in imports.items() for name in text.split()}
    found = import_module(package)
    assert names.keys() <= set(found.__all__) <= set(dir(found))
    assert all(getattr(found, name) is getattr(import_module(module), name) for name, module in names.items())
    others = {name for name in found.__all__ if name not in names and name not in vars(found)}
    assert all(find_spec(f"{package}.{name}") for name in others)


@pytest.mark.parametrize("name", ["numpy.attention", "spec.attention", "conformance.judge"])
def test_a_function_is_found_where_a_file_has_its_name(name: str) -> None:
    package, _, function = f"attention_ref.{name}".rpartition(".")
    code = f"import attention_ref.{name}; from {package} import {function}; print({function}.__name__)"
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert run.stdout.strip() == function


def test_an_unknown_name_is_refused() -> None:
    import attention_ref.numpy

    with pytest.raises(AttributeError, match=r"module 'attention_ref\.numpy' has no attribute 'atention'"):
        attention_ref.numpy.atention  # noqa: B018
