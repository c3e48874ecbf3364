"""Every public function and layer has an example that runs: in its docstring, or in a cell of the site."""

from __future__ import annotations

import doctest
import importlib
import inspect
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import attention_ref.numpy
from attention_ref import spec, weights

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras itself

DOCS = Path(__file__).parent.parent / "docs"
CELL = re.compile(r"^```\{code-cell\}.*?^```", re.MULTILINE | re.DOTALL)
LAYERS = {"Block", "FeedForward", "MultiHeadAttention", "Transformer"}
ROOM: dict[str, Any] = {"np": np, "attention_ref": attention_ref, "spec": spec, "weights": weights}
ROOM |= {name: getattr(attention_ref.numpy, name) for name in ("attention", "Transformer")}
VARIABLES: dict[str, dict[str, Any]] = {
    "spec": {"weights": weights, **{name: getattr(spec, name) for name in spec.__all__}},
    "generation": ROOM,
    "conformance": ROOM,
    "oracle": {"np": np},
}


def run(names: list[str], module: ModuleType, variables: dict[str, Any]) -> list[str]:
    """Run the examples in the docstrings of public names; return the names that have none.

    Raises:
        AssertionError: for an example that gives something else than it shows.
    """
    finder, runner = doctest.DocTestFinder(exclude_empty=True), doctest.DocTestRunner(verbose=False)
    without: list[str] = []
    report: list[str] = []
    for name in names:
        found = finder.find(getattr(module, name), name, module=False, globs=variables)  # type: ignore[arg-type]
        tests = [test for test in found if test.examples]
        without += [] if tests else [name]
        for test in tests:
            runner.run(test, out=report.append)
    assert runner.failures == 0, "".join(report)
    return without


@pytest.mark.long
def test_every_public_name_of_a_backend_has_an_example_that_runs(room: ModuleType) -> None:
    variables: dict[str, Any] = {}
    for example in doctest.DocTestParser().get_examples(room.__doc__ or ""):
        exec(example.source, variables)
    assert run(room.__all__, room, variables) == []


@pytest.mark.bare
@pytest.mark.parametrize("name", ["spec", "weights", "generation", "conformance", "oracle", "vectors"])
def test_every_public_function_has_an_example_that_runs(name: str, tmp_path: Path) -> None:
    if name == "conformance":
        pytest.importorskip("hypothesis")
    module = importlib.import_module(f"attention_ref.{name}")
    public = {each: getattr(module, each) for each in module.__all__}
    functions = [each for each, item in public.items() if inspect.isfunction(item) or each in LAYERS]
    without = run(functions, module, {**public, **VARIABLES.get(name, {}), "folder": tmp_path})
    cells = "\n".join(cell for page in DOCS.rglob("*.md") for cell in CELL.findall(page.read_text(encoding="utf-8")))
    assert [each for each in without if not re.search(rf"\b{name}\.{each}\(", cells)] == []
