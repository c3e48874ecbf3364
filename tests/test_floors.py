"""The graph of imports: no module imports itself by any way round, and the kit is built in floors.

Imports inside functions and those for types alone count like all others.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterable, Mapping, Set
from graphlib import CycleError, TopologicalSorter
from itertools import accumulate
from pathlib import Path, PurePath

import pytest

from attention_ref.backends import ROOMS
from tests.test_import_law import PACKAGE, imports

FLOORS = (
    "errors",  # what is raised
    "budget",
    "case_heads",
    "case",  # what a subject is asked for
    "outcome",  # what it answers, and the verdict
    "signatures",
    "regular_file",
    "timeouts",
    "profiles",
    "text_width",
    "case_description",
    "listings",
    "reseeded_cases",
    "frameworks",  # arrays of each framework: make, read, move, differentiate
    "dialects",  # calling conventions
    "plain_call",  # one call of attention, right or wrong
    "conventions",  # those of other libraries that a function may follow
    "convention_words",
    "preflight",  # whether it can be called at all
    "import_callable",  # a function of the user by its name
    "subjects",  # what can be judged
    "probes",  # what a function computes, asked
    "diagnosis",  # what a wrong function computes, explained
    "peers",  # released libraries
    "run",  # from cases to results
    "clause_verdicts",
    "check_results",  # from results to verdicts
    "expected_failures",
    "laws",
    "judge",  # kernels at real sizes
    "onnx_nodes",
    "divergence",  # the first tensor in which two models differ
    "reports",  # the formats of a report
    "report",  # the results with the ways to write them
    "api",
    "__init__",
)
"""The files and folders of the kit; each imports only those before it."""

SHARED_NAMES = {"__init__", "__main__", "errors"}
"""Files that several folders have; the errors of the specification refuse input, those of the kit judge a subject."""


def module(path: Path) -> str:
    """Return the name under which a file is imported."""
    parts = (PACKAGE.name, *path.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imported(source: str, modules: Set[str]) -> set[str]:
    """Return the modules that a file imports; a name in a module counts as the module."""
    names = [name.split(".") for name, _ in imports(ast.parse(source))]
    return {max(found, key=len) for parts in names if (found := modules & set(accumulate(parts, "{}.{}".format)))}


GRAPH = {name: imported(path.read_text(), MODULES.keys()) - {name} for name, path in MODULES.items()}


def circle(graph: Mapping[str, Iterable[str]]) -> list[str]:
    """Return the modules of a circle in their order; none where there is no circle."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def upward(graph: Mapping[str, Iterable[str]]) -> list[str]:
    """Return the imports of the kit that do not go down."""
    floors = {name: FLOORS.index(floor) for name in graph if (floor := floor_of(name))}
    pairs = ((name, other) for name in floors for other in graph[name] if other in floors)
    return [
        f"{name} -> {other}"
        for name, other in pairs
        if floors[name] < floors[other] or (floors[name] == floors[other] and is_single(name))
    ]


def floor_of(name: str) -> str:
    """Return the file or folder of the kit that a module is in; nothing for modules elsewhere."""
    package, _, rest = name.partition(".conformance")
    return (rest.strip(".").partition(".")[0] or "__init__") if package != name else ""


def is_single(name: str) -> bool:
    """Return whether a floor is a file, which imports nothing on its floor."""
    return MODULES[name].parent == PACKAGE / "conformance"


def repeated(paths: Iterable[PurePath]) -> dict[str, list[str]]:
    """Return the names that several files have, unless the rooms and the specification share them."""
    folders = defaultdict(list)
    for path in paths:
        if path.stem not in SHARED_NAMES:
            folders[path.stem].append(str(path.parent))
    rooms = {*ROOMS, "spec"}
    return {name: found for name, found in folders.items() if len(found) > 1 and not set(found) <= rooms}


def test_no_module_imports_itself_by_a_way_round() -> None:
    assert circle(GRAPH) == []


def test_every_import_of_the_kit_goes_down() -> None:
    assert upward(GRAPH) == []


def test_every_file_of_the_kit_is_on_a_floor() -> None:
    assert {floor_of(name) for name in MODULES} - {""} == set(FLOORS)


def test_no_name_of_a_file_stands_twice() -> None:
    assert repeated(path.relative_to(PACKAGE) for path in MODULES.values()) == {}


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("errors", "from attention_ref.conformance import run"),
        ("subjects.program", "def f():\n    from attention_ref.conformance.run import select"),
        ("reports.text", "if TYPE_CHECKING:\n    from attention_ref.conformance.report import Report"),
        ("frameworks.torch", "import attention_ref.conformance.subjects.subject"),
        ("budget", "from importlib import import_module\nimport_module('attention_ref.conformance')"),
    ],
)
def test_a_planted_import_upward_is_found(name: str, source: str) -> None:
    name = f"attention_ref.conformance.{name}"
    assert len(upward({**GRAPH, name: imported(source, MODULES.keys())})) == 1


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("conformance.case", "def f():\n    from attention_ref.conformance.run import select"),
        ("conformance.reports.text", "if TYPE_CHECKING:\n    from attention_ref.conformance import Report"),
        ("backends", "def f():\n    from attention_ref.commands import check"),
        ("spec.masks", "from importlib import import_module\nimport_module('attention_ref.spec')"),
    ],
)
def test_a_planted_circle_is_found(name: str, source: str) -> None:
    name = f"attention_ref.{name}"
    assert name in circle({**GRAPH, name: GRAPH[name] | imported(source, MODULES.keys())})


def test_a_planted_name_is_found() -> None:
    paths = [
        PurePath("numpy/masks.py"),
        PurePath("spec/masks.py"),
        PurePath("laws/rows.py"),
        PurePath("reports/rows.py"),
    ]
    assert repeated(paths) == {"rows": ["laws", "reports"]}
    assert repeated([PurePath("numpy/masks.py"), PurePath("laws/masks.py")]) == {"masks": ["numpy", "laws"]}
