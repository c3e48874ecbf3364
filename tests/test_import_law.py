"""The import law: imports between the parts of the library point one way."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Set
from pathlib import Path
from typing import NamedTuple

import pytest

import attention_ref
from attention_ref.conformance import KINDS

PACKAGE = Path(attention_ref.__file__).parent
FRAMEWORKS = {"flax", "ml_dtypes", "onnx", "onnxruntime", *KINDS} - {"numpy"}
PEERS = {"flashinfer", "keras_hub", "transformers", "x_transformers", "xformers"}
DOOR = {"attention_ref", "attention_ref.__version__", *(f"attention_ref.{path.stem}" for path in PACKAGE.glob("*.py"))}
OURS = {f"attention_ref.{path.name}" for path in PACKAGE.iterdir() if path.is_dir()}


class Law(NamedTuple):
    """The imports of a folder besides the standard library and itself: at once, and later, inside a function."""

    at_once: Set[str] = frozenset()
    later: Set[str] = frozenset()


def room(framework: str, *more: str) -> Law:
    return Law({"numpy", framework, "attention_ref.spec", "attention_ref.weights"}, set(more))


LAWS = {
    "": Law(DOOR | {"attention_ref.commands", "attention_ref.spec.lazy_names"}, OURS),
    "commands": Law(DOOR, OURS | {"numpy", "torch", "transformers"}),
    "spec": Law(),
    "pytest_plugin.py": Law(DOOR | {"pytest", "attention_ref.commands"}, OURS),
    "bench": Law(
        {"numpy", "attention_ref.spec"},
        FRAMEWORKS | PEERS | {"matplotlib", "attention_ref.weights"} | OURS | {"attention_ref.backends"},
    ),
    "articles": Law({"numpy", "torch", "keras", "attention_ref.spec"}, OURS),
    "examples": Law({"numpy", "torch", "keras"} | OURS),
    "generation": Law({"numpy", "attention_ref.spec"}),
    "plot.py": Law({"attention_ref.spec"}, {"numpy", "matplotlib"}),
    "weights": Law({"numpy", "attention_ref.spec"}, {"ml_dtypes", "safetensors"}),
    "numpy": room("numpy", "ml_dtypes", "threadpoolctl"),
    "torch": room("torch"),
    "keras": room("keras"),
    "vectors": Law({"attention_ref.spec", "mpmath", "numpy"}),
    "oracle": Law({"numpy", "attention_ref.spec"}),
    "conformance": Law(
        {"numpy", "attention_ref.spec", "attention_ref.vectors", "attention_ref.oracle"},
        FRAMEWORKS | PEERS | {"hypothesis", "safetensors"},
    ),
}


class Import(NamedTuple):
    """An imported name, and whether it is imported only inside a function."""

    name: str
    is_later: bool


def imports(node: ast.AST, is_later: bool = False) -> Iterator[Import]:
    """Find every import of a module: statements, and calls of `import_module` with a name."""
    if isinstance(node, ast.Import):
        yield from (Import(alias.name, is_later) for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, f"line {node.lineno}: imports are absolute"
        yield from (Import(f"{node.module}.{alias.name}", is_later) for alias in node.names)
    elif isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[-1] in ("import_module", "__import__"):
        yield from (Import(name.value, is_later) for name in node.args[:1] if isinstance(name, ast.Constant))
    is_later |= isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)) or _is_for_types(node)
    for child in ast.iter_child_nodes(node):
        yield from imports(child, is_later)


def violations(source: str, folder: str) -> list[str]:
    """Return the imports of a file in `folder` that its law does not allow."""
    law = LAWS[folder]
    own = {f"attention_ref.{folder}"} if folder else set()
    found = []
    for name, is_later in imports(ast.parse(source)):
        allowed = own | law.at_once | (law.later if is_later else set())
        is_standard = name.partition(".")[0] in sys.stdlib_module_names
        if not is_standard and not any(_is_in(module, name) for module in allowed):
            found.append(name)
    return found


def _is_in(module: str, name: str) -> bool:
    return name == module or (module != "attention_ref" and name.startswith(f"{module}."))


def _is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def _folder(path: Path) -> str:
    parts = path.relative_to(PACKAGE).parts
    return parts[0] if len(parts) > 1 or parts[0] in LAWS else ""


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_imports_what_its_folder_may(path: Path) -> None:
    assert violations(path.read_text(), _folder(path)) == []


@pytest.mark.parametrize(
    ("folder", "source"),
    [
        ("spec", "import numpy"),
        ("spec", "def f():\n    import mpmath"),
        ("spec", "from attention_ref import conformance"),
        ("numpy", "import torch"),
        ("torch", "from attention_ref.numpy import attention"),
        ("torch", "def f():\n    from attention_ref import keras"),
        ("keras", "import attention_ref.conformance.budget"),
        ("keras", "from importlib import import_module\nimport_module('tensorflow')"),
        ("vectors", "import tensorflow as tf"),
        ("vectors", "def f():\n    import attention_ref.numpy"),
        ("oracle", "from attention_ref.conformance import budget"),
        ("oracle", "def f():\n    import attention_ref.numpy"),
        ("conformance", "if True:\n    import torch.nn"),
        ("conformance", "def f():\n    import attention_ref.torch"),
        ("conformance", "import attention_ref"),
        ("", "import numpy"),
        ("plot.py", "import matplotlib"),
        ("plot.py", "def f():\n    import matplotlib.pyplot, torch"),
        ("", "class C:\n    from attention_ref import conformance"),
    ],
)
def test_a_planted_violation_is_found(folder: str, source: str) -> None:
    assert len(violations(source, folder)) == 1


def test_a_relative_import_is_found() -> None:
    with pytest.raises(AssertionError, match="absolute"):
        violations("from . import masks", "spec")


def test_every_folder_has_a_law() -> None:
    assert {_folder(path) for path in PACKAGE.rglob("*.py")} <= set(LAWS)
