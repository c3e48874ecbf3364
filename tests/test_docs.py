"""The pages of the site, without building it: what can be wrong before anything runs."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from attention_ref import backends
from attention_ref.conformance.frameworks.interface import Framework
from attention_ref.spec.clauses import clauses

DOCS = Path(__file__).parent.parent / "docs"
if not DOCS.exists():
    pytest.skip("the pages are not here", allow_module_level=True)
sys.path.append(str(DOCS))

from _generate import GENERATORS, LINE, clauses as clause_pages, docstrings, fill, text  # noqa: I001

PAGES = sorted(path for path in DOCS.rglob("*.md") if "_build" not in path.parts)
SOURCES = {path: path.read_text(encoding="utf-8") for path in PAGES}
TOCTREE = re.compile(r"^```\{toctree\}\n(.*?)^```", re.MULTILINE | re.DOTALL)
FENCE = re.compile(r"^(`{3,}|:{3,})(.*)$", re.MULTILINE)
CODE = re.compile(r"^(`{3,})(?!\{(?!code-cell)).*?^\1$|`[^`\n]*`", re.MULTILINE | re.DOTALL)
SHOWN = re.compile(r"^```(?:\{code-cell\}|shell).*?^```$", re.MULTILINE | re.DOTALL)
TARGET = re.compile(r"\]\(#([a-z0-9-]+\.[a-z0-9.-]+)\)")
RUN = {"diagnoses", "gallery", "kill-matrix", "mistake", "mistakes"}
pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))


def listed(page: Path) -> set[Path]:
    """Return the pages that a page's tables of contents name."""
    rows = [row for block in TOCTREE.findall(fill_toctrees(SOURCES[page])) for row in block.splitlines()]
    names = [re.sub(r".*<(.*)>", r"\1", row.strip()) for row in rows if row.strip() and not row.startswith(":")]
    folders = [DOCS if name.startswith("/") else page.parent for name in names]
    found: set[Path] = set()
    for folder, name in zip(folders, names, strict=True):
        found |= {path.resolve() for path in folder.glob(f"{name.lstrip('/')}.md")}
    return found


def fill_toctrees(source: str) -> str:
    return LINE.sub(lambda line: fill(line[0]) if line[1] == "toctree" else "", source)


def body(source: str) -> str:
    """Return a page without its code."""
    return CODE.sub("", source)


def test_every_page_is_reached_from_the_index() -> None:
    reached, pending = set(), [DOCS / "index.md"]
    while pending:
        page = pending.pop()
        if page not in reached:
            reached.add(page)
            pending += listed(page)
    assert set(PAGES) - reached == set()


@pages
def test_links_to_clauses_arrive(page: Path) -> None:
    targets = set(TARGET.findall(SOURCES[page]))
    assert targets - set(clauses()) == set()


@pages
def test_fences_are_closed(page: Path) -> None:
    stack: list[str] = []
    for marker, rest in FENCE.findall(SOURCES[page]):
        if stack and rest.strip() == "" and marker == stack[-1]:
            stack.pop()
        elif not (stack and stack[-1].startswith("`")):  # inside code nothing opens
            stack.append(marker)
    assert stack == []


@pages
def test_a_page_with_cells_says_so_and_nothing_else_does(page: Path) -> None:
    has_cells = re.search(r"^(`{3,}\{code-cell\}|\{\{ readme(?:-cell)? )", SOURCES[page], re.MULTILINE) is not None
    assert has_cells == SOURCES[page].startswith("---\nfile_format: mystnb\n")


@pytest.mark.bare
@pages
def test_what_a_page_asks_for_can_be_generated(page: Path) -> None:
    """All but what runs wrong implementations: other tests run them, and building the site generates it."""
    lines = [line for line in LINE.finditer(SOURCES[page]) if line[1] not in RUN]
    assert all(GENERATORS[line[1]](*line[2].split()) for line in lines)
    assert "{{ " not in LINE.sub("", body(SOURCES[page]))


@pages
def test_a_page_loads_nothing_from_elsewhere(page: Path) -> None:
    loads = re.findall(r"!\[[^\]]*\]\(https?:|<(?:script|img|link|iframe)\b[^>]*https?:|@import", body(SOURCES[page]))
    assert loads == []


def test_every_clause_is_written_out_on_one_page() -> None:
    shown = [
        clause.id
        for source in SOURCES.values()
        for line in LINE.finditer(source)
        if line[1] == "clauses"
        for clause in clause_pages.chosen(*line[2].split())
    ]
    assert sorted(shown) == sorted(clauses())


def test_every_file_of_the_rooms_and_the_spec_has_a_page() -> None:
    package = DOCS.parent / "attention_ref"
    files = {path.stem for path in (package / "torch").glob("[!_]*.py")}
    assert {path.stem for path in (DOCS / "rooms").glob("*.md")} - {"index"} == files
    modules = {f"attention_ref.spec.{path.stem}" for path in (package / "spec").glob("[!_]*.py")}
    documented = {
        line[2].split()[0] for source in SOURCES.values() for line in LINE.finditer(source) if line[1] == "module"
    }
    assert modules - documented == {"attention_ref.spec.clauses"}


def test_lines_of_chinese_are_joined_and_others_are_not() -> None:
    assert fill("注意力，\n三种\nSoftmax\nand a\nmask") == "注意力，三种\nSoftmax\nand a\nmask"


@pytest.mark.parametrize(
    ("plain", "markdown"),
    [
        ("see attention.causal.", "see [`attention.causal`](#attention.causal)."),
        ("the mask (b,1,1,k) and d_k", "the mask `(b,1,1,k)` and `d_k`"),
        ("keras.layers.Attention 3.15.1 scales by 1/sqrt(d).", "`keras.layers.Attention` 3.15.1 scales by 1/sqrt(d)."),
        ("scale * query key^T, a < b", r"scale \* query key^T, a \< b"),
        ("https://github.com/onnx/onnx/pull/8068", "<https://github.com/onnx/onnx/pull/8068>"),
    ],
)
def test_plain_text_becomes_markdown(plain: str, markdown: str) -> None:
    assert text.prose(plain) == markdown


def test_a_docstring_becomes_markdown() -> None:
    given = "Do it.\n\n    y = f(x)\n\nArguments:\n    a, b: the\n        first.\n    c: `attention.scale`.\n\n"
    given += "Returns:\n    y."
    expected = [
        "Do it.\n\n```text\ny = f(x)\n```",
        "**Arguments**\n\n`a`, `b`\n: the first.\n\n`c`\n: [`attention.scale`](#attention.scale).",
        "**Returns**\n\ny.",
    ]
    assert [part for part in expected if part not in docstrings.markdown(given)] == []


@pytest.mark.parametrize(
    ("statement", "directive"),
    [
        ("def f(a: int, *, b: str = 'x') -> int:\n    'Do.'", "py:function} f(a, *, b='x')"),
        ("@dataclass(kw_only=True)\nclass C:\n    'A record.'\n    a: int\n    b: int = 2", "py:class} C(*, a, b=2)"),
        ("class C:\n    'A thing.'\n    def __init__(self, a):\n        pass", "py:class} C(a)"),
        ("X = 1\n'''The number.'''", "py:data} X"),
    ],
)
def test_a_definition_becomes_a_directive(statement: str, directive: str, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "sample.py").write_text(statement)
    monkeypatch.setattr(docstrings, "source", lambda name: tmp_path / f"{name}.py")
    assert directive in docstrings.module("sample")


def test_the_facts_are_those_of_the_rooms() -> None:
    assert tuple(backends.FACTS) == backends.ROOMS
    assert [each.module for each in backends.FACTS.values()] == [f"attention_ref.{room}" for room in backends.ROOMS]
    assert backends.FACTS["keras"].engines == backends.ENGINES


def test_a_room_computes_in_the_dtypes_of_its_facts(room: ModuleType, room_arrays: Framework) -> None:
    pytest.importorskip("ml_dtypes")
    for dtype in backends.FACTS[room.__name__.rpartition(".")[-1]].dtypes:
        array = room_arrays.make(np.ones((1, 2, 3)), dtype)
        assert room_arrays.dtype(room.attention(array, array, array)) == dtype


@pytest.mark.parametrize("name", ["numpy", "pytorch", "keras"])
def test_a_start_page_runs_the_same_code_in_both_languages(name: str) -> None:
    english, chinese = (SHOWN.findall(SOURCES[DOCS / folder / f"{name}.md"]) for folder in ("start", "zh/start"))
    assert english == chinese
    assert len(english) > 5
