"""The pages on the five articles: every mistake fails its case in both languages, and is right when corrected."""

from __future__ import annotations

import importlib
import re
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest

from attention_ref.articles import FOLDER, MISTAKES
from attention_ref.conformance.case import all_cases
from attention_ref.spec.clauses import clauses
from tests.wrong_attentions import GALLERY as ATTENTIONS
from tests.wrong_layers import GALLERY as LAYERS

DOCS = Path(__file__).parent.parent / "docs"
PAGES = {language: DOCS / "articles" / folder for language, folder in (("en", ""), ("zh", "zh"))}
CASES = {case.id: case for case in all_cases()}
CELL = re.compile(r"^```\{code-cell\}\n.*?^```$", re.MULTILINE | re.DOTALL)


def page(article: str, language: str) -> str:
    return (PAGES[language] / f"{article}.md").read_text()


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_fails_its_case_and_the_correction_passes(mistake):
    if find_spec(mistake.arrays) is None:
        pytest.skip(f"{mistake.arrays} is not installed")
    wrong, right = mistake.report("wrong"), mistake.report("right")
    right.raise_for_failures()
    assert {result.verdict for result in wrong.results} == {"failed"}


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
def test_the_case_that_catches_it_stands_for_the_clause_that_it_breaks(mistake):
    case = CASES[mistake.case]
    assert case.operation == mistake.operation
    assert mistake.clause in case.clauses or clauses()[mistake.clause].foundation


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_shown_and_checked_in_both_languages(mistake):
    for language in PAGES:
        argument = "" if language == "en" else f" {language}"
        text = page(mistake.article, language)
        assert text.count(f"{{{{ mistake {mistake.id}{argument} }}}}\n") == 1
        assert f'caught("{mistake.id}")' in "".join(CELL.findall(text))


@pytest.mark.parametrize("article", "abcde")
def test_both_languages_run_the_same_cells(article):
    english, chinese = (CELL.findall(page(article, language)) for language in PAGES)
    assert english == chinese
    assert f'caught("{article}-' in "".join(english)


def test_the_list_is_whole():
    ids = [entry["id"] for entry in tomllib.loads((FOLDER / "mistakes.toml").read_text())["mistake"]]
    assert len(ids) == len(set(ids))
    shown = {
        id for article in "abcde" for id in re.findall(r"^\{\{ mistake (\S+) \}\}$", page(article, "en"), re.MULTILINE)
    }
    assert shown == set(ids)


@pytest.mark.bare
def test_the_gallery_shows_every_wrong_implementation(monkeypatch):
    monkeypatch.syspath_prepend(DOCS)
    gallery = importlib.import_module("_generate.gallery")
    monkeypatch.setattr(gallery, "_diagnosis", lambda wrong: iter(()))  # tests/test_diagnosis.py and the site run them
    pages = "\n".join(path.read_text() for path in (DOCS / "gallery").glob("*.md"))
    patterns = [word for line in re.findall(r"^\{\{ gallery (.*) \}\}$", pages, re.MULTILINE) for word in line.split()]
    shown = gallery.entries(*patterns)
    everything = [*ATTENTIONS, *LAYERS]
    assert [wrong for wrong in everything if shown.count(f"({gallery.anchor(wrong)})=\n") != 1] == []
    assert [wrong for wrong in everything if gallery.source(wrong) not in shown] == []
    assert shown.count("Caught by\n: ") == len(everything)
