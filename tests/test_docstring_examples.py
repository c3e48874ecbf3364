"""Every public name of a backend has an example in its docstring, and the examples give what they show."""

from __future__ import annotations

import doctest
from types import ModuleType
from typing import Any

import pytest

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras itself


def examples_of(item: Any, name: str, variables: dict[str, Any]) -> list[doctest.DocTest]:
    """Return the examples of a docstring and of the methods of a class."""
    found = doctest.DocTestFinder(exclude_empty=True).find(item, name, module=False, globs=variables)
    return [test for test in found if test.examples]


def test_every_public_name_has_an_example_that_runs(room: ModuleType) -> None:
    variables: dict[str, Any] = {}
    for example in doctest.DocTestParser().get_examples(room.__doc__ or ""):
        exec(example.source, variables)
    runner = doctest.DocTestRunner(verbose=False, optionflags=doctest.REPORT_NDIFF)
    without, report = [], []
    for name in room.__all__:
        tests = examples_of(getattr(room, name), name, variables)
        without += [] if tests else [name]
        for test in tests:
            runner.run(test, out=report.append)
    assert without == []
    assert runner.failures == 0, "".join(report)
