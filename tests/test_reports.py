"""Reports in every format say the same, can be parsed by others, and escape whatever a subject is called or says."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree

import numpy as np
import pytest

from attention_ref import cli, conformance
from attention_ref.commands import command
from attention_ref.conformance import Report, Subject, Unsupported, check_subject, reports
from attention_ref.conformance.probes import questions
from attention_ref.conformance.reports import html, junit, markdown, matrix, text
from attention_ref.conformance.reports.html import choice
from attention_ref.conformance.reports.matrix import Column
from attention_ref.spec.clauses import clauses

NASTY = 'a<b>&amp;"c" `d` | ]]> *e* \x1b[31m \x00 \ud800 é'
"""Text that breaks a format without escapes."""
VOID = {"br", "input", "meta", "wbr"}
NEVER = {"link", "img", "iframe", "object", "embed", "base", "form"}


def attention(query: Any, key: Any, value: Any, *, mask: Any = None, softcap: float | None = None) -> Any:
    """Right but for a row without a visible key, which is NaN; float16 and a softcap are unsupported and raise."""
    if softcap is not None:
        raise ValueError(NASTY)
    if query.dtype == np.float16:
        raise Unsupported(NASTY)
    key, value = (np.repeat(array, query.shape[-3] // array.shape[-3], axis=-3) for array in (key, value))
    scores = query @ np.swapaxes(key, -1, -2) * query.dtype.type(query.shape[-1] ** -0.5)
    scores = scores if mask is None else np.where(mask, scores, -np.inf)
    with np.errstate(all="ignore"):
        weights = np.exp(scores - scores.max(-1, keepdims=True, initial=-np.inf))
        return weights / weights.sum(-1, keepdims=True) @ value


@cache
def report(name: str = NASTY) -> Report:
    subject = Subject(name, "numpy", {"attention": attention}, version=f"1.0 {NASTY}")
    return check_subject(subject, dtypes=("float64", "float32", "float16"), cases="attention/[chmsw]*")


def columns() -> list[Column]:
    room = conformance.check(lambda query, key, value, **_: value, cases="attention/core/plain", name="values")
    return [
        Column(NASTY, report(), what=NASTY, answers={f"which {NASTY}?": NASTY}),
        Column("second", room, answers={"which?": "the second"}),
        Column("third", trouble="not installed: needs third"),
        Column("fourth", trouble="crashed: SIGSEGV", lines=("first", NASTY)),
    ]


def test_the_report_of_these_tests_has_everything_in_it() -> None:
    results = report().results
    assert {result.verdict for result in results} == {"passed", "failed", "unsupported"}
    assert any(result.mismatch for result in results)
    assert any(result.where for result in results)
    assert any(not report().decides(result) for result in report().failures)
    assert any(clause.only_with for clause in report().clauses)


@pytest.mark.parametrize("name", reports.FORMATS)
def test_every_format_is_written_and_is_the_same_every_time(name: str) -> None:
    written = reports.write(report(), name)
    assert written == reports.write(Report.from_dict(json.loads(json.dumps(report().to_dict()))), name)
    assert "\x00" not in written or name in ("text", "markdown")
    with pytest.raises(ValueError, match="choose from: text, json, junit, markdown, html"):
        reports.write(report(), f"{name}s")


# JSON


@pytest.fixture(scope="module")
def validators() -> dict[str, Any]:
    jsonschema = pytest.importorskip("jsonschema")
    registry = pytest.importorskip("referencing").Registry()
    schemas = {name: reports.schema(name) for name in ("report", "peers")}
    for name, schema in schemas.items():
        jsonschema.Draft202012Validator.check_schema(schema)
        registry = registry.with_contents([(f"{name}.json", schema)])
    return {name: jsonschema.Draft202012Validator(schema, registry=registry) for name, schema in schemas.items()}


def test_json_follows_its_schema(validators: dict[str, Any]) -> None:
    validators["report"].validate(json.loads(reports.write(report(), "json")))
    validators["peers"].validate(json.loads(json.dumps(matrix.data(columns(), {"date": "today"}), allow_nan=False)))


SPOILED = {
    "more": lambda data: data.update(extra=1),
    "less": lambda data: data.pop("spec"),
    "verdict": lambda data: data["results"][0].update(verdict="perhaps"),
    "error_ratio": lambda data: data["results"][0].update(error_ratio=-1),
    "line": lambda data: next(each for each in data["results"] if each["verdict"] == "failed").update(reproduce=None),
    "count": lambda data: data["clauses"][0].update(cases="many"),
}


@pytest.mark.parametrize("name", SPOILED)
def test_the_schema_refuses_what_is_no_report(name: str, validators: dict[str, Any]) -> None:
    data = json.loads(reports.write(report(), "json"))
    assert validators["peers"].is_valid({"format_version": 2, "facts": {}, "peers": [{**PEER, "report": data}]})
    SPOILED[name](data)
    assert not validators["report"].is_valid(data)
    assert not validators["peers"].is_valid({"format_version": 2, "facts": {}, "peers": [{**PEER, "report": data}]})


PEER = {"name": "a", "what": "", "trouble": "", "lines": [], "answers": {}}


def test_json_reads_back() -> None:
    data = json.loads(reports.write(report(), "json"))
    again = Report.from_dict(data)
    assert again.to_dict() == report().to_dict() == data
    assert str(again) == str(report())
    first = columns()
    assert matrix.data(matrix.read(matrix.data(first, {})), {}) == matrix.data(first, {})


def test_a_case_that_is_not_in_the_vectors_reads_back() -> None:
    data = json.loads(reports.write(report(), "json"))
    for result in data["results"]:
        result["case"] = result["case"].replace("attention/", "attention/unheard/")
    again = Report.from_dict(data)
    assert [result.verdict for result in again.results] == [result.verdict for result in report().results]
    for name in reports.FORMATS:
        assert "attention/unheard/" in reports.write(again, name)


def test_a_report_of_version_1_reads_as_one_of_version_2(validators: dict[str, Any]) -> None:
    stored = json.loads((Path(__file__).parent / "stored" / "report-v1.json").read_text(encoding="utf-8"))
    again = Report.from_dict(stored)
    assert [each.verdict for each in again.results] == [each["verdict"] for each in stored["results"]]
    assert [each.case.catches for each in again.results] == [each["hunts"] for each in stored["results"]]
    unknown = {**stored["results"][0], "case": "attention/core/gone", "seen": ["a thread"]}
    case = Report.from_dict({**stored, "results": [unknown]}).results[0].case
    assert (case.catches, case.bug, case.references) == (unknown["hunts"], "", ("a thread",))
    validators["report"].validate(again.to_dict())
    columns = matrix.read({"format": 1, "facts": {}, "peers": [{**PEER, "report": stored}]})
    assert matrix.data(columns, {})["peers"][0]["report"] == again.to_dict()


@pytest.mark.parametrize("read", [Report.from_dict, matrix.read])
@pytest.mark.parametrize("version", [{"format_version": 3}, {"format": 2}, {}])
def test_another_format_is_refused(read: Callable[[Any], Any], version: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"format version .* not supported; expected 2 or 1"):
        read(version)


# JUnit


def test_junit_counts_what_the_report_counts() -> None:
    root = ElementTree.fromstring(junit.write(report()))
    (suite,) = root
    cases = suite.findall("testcase")
    failures = [result for result in report().failures if report().decides(result)]
    verdicts = [result.verdict for result in report().results]
    assert root.tag == "testsuites"
    assert len(cases) == int(suite.get("tests", 0)) == len(report().results)
    assert len(suite.findall("testcase/failure")) == int(suite.get("failures", 0)) == len(failures) > 0
    skipped = len(suite.findall("testcase/skipped"))
    assert skipped == int(suite.get("skipped", 0)) == len(verdicts) - verdicts.count("passed") - len(failures)
    assert len({(case.get("classname"), case.get("name")) for case in cases}) == len(cases)
    assert all(case.get("time") is None for case in cases)


def test_junit_says_what_is_wrong_and_why_something_was_skipped() -> None:
    (suite,) = ElementTree.fromstring(junit.write(report("mine")))
    named_subjects = {case.get("name"): case for case in suite.findall("testcase")}
    for result in report("mine").results:
        case = named_subjects[f"{result.case.id} {result.dtype}"]
        assert case.get("classname") == f"mine.attention.{result.case.profile}"
        if result.verdict == "failed" and report("mine").decides(result):
            failure = case.find("failure")
            assert failure is not None
            assert failure.get("message")
            assert result.case.catches in (failure.text or "")
            assert f"--case {result.case.id} --dtype {result.dtype}" in (failure.text or "")
        elif result.verdict != "passed":
            skipped = case.find("skipped")
            assert skipped is not None
            start = "unsupported: " if result.verdict == "unsupported" else "optional, not decisive: "
            assert (skipped.get("message") or "").startswith(start)


# HTML


class Page(HTMLParser):
    """A page that is read strictly: every element is closed in its turn."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.targets: set[str] = set()
        self.names: set[str] = set()
        self.attributes: set[str] = set()
        self.words: list[str] = []
        self.scripts: list[str] = []
        self._open: list[str] = []
        self.feed(source)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.attributes |= {name for name, _ in attrs}
        given = dict(attrs)
        self.ids += [str(given["id"])] if "id" in given else []
        self.targets |= {str(given["href"])} if "href" in given else set()
        self._open += [] if tag in VOID else [tag]

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open[-1:] == ["script"]:
            self.scripts.append(data)
        elif self._open[-1:] != ["style"]:
            self.words.append(data)

    @property
    def text(self) -> str:
        return "".join(self.words)


@pytest.fixture(scope="module", params=["one", "several"])
def source(request: pytest.FixtureRequest) -> str:
    return (
        html.write(report())
        if request.param == "one"
        else html.write_matrix(columns(), {NASTY: NASTY, "date": "today"})
    )


def test_html_is_well_formed_and_every_link_has_its_target(source: str) -> None:
    page = Page(source)
    assert source.startswith("<!DOCTYPE html>")
    assert len(page.ids) == len(set(page.ids))
    assert all(target.startswith("#") for target in page.targets)
    assert {unquote(target[1:]) for target in page.targets} <= set(page.ids)


def test_html_needs_nothing_from_elsewhere(source: str) -> None:
    page = Page(source)
    assert not page.names & NEVER
    assert not {name for name in page.attributes if name.startswith("on") or name in ("src", "srcset", "style")}
    (style,) = re.findall("<style>(.*?)</style>", source, re.DOTALL)
    assert not re.search(r"url\(|@import|@font-face|//", style)
    assert len(page.scripts) == ("choice" in page.ids)
    assert not re.search(r"//|import|fetch|XMLHttpRequest|createElement|innerHTML", "".join(page.scripts))


def test_html_escapes(source: str) -> None:
    page = Page(source)
    clean = re.sub("[\x00-\x1f\ud800]", "\ufffd", NASTY)
    assert NASTY.partition("<b>")[0] + "<b>" in page.text
    assert clean in page.text
    assert "<b>" not in source
    source.encode("utf-8")


def test_html_says_everything_about_a_clause_a_case_and_a_failure() -> None:
    page = Page(html.write(report("mine")))
    for clause in report("mine").clauses:
        described = clauses()[clause.id]
        assert f"clause-{clause.id}" in page.ids
        for words in (described.title, described.statement, described.reason, described.differ, *described.sources):
            assert words in page.text
    for result in report("mine").results:
        assert f"case-{result.case.id}" in page.ids
        assert result.case.catches in page.text
    for result in report("mine").failures:
        assert f"failure-mine-{result.case.id}-{result.dtype}" in page.ids
        assert f"attention-ref check mine --case {result.case.id} --dtype {result.dtype}" in page.text
        if result.mismatch:
            assert f"{result.mismatch.got:.9g}"[:9] in page.text
    assert "query (2, 2, 3, 4)" in page.text
    assert "no argument window" in page.text


def test_html_of_a_matrix_shows_subjects_that_have_no_report_and_answers() -> None:
    page = Page(html.write_matrix(columns(), {"date": "today"}))
    for words in ("not installed: needs third", "crashed: SIGSEGV", "first\n", "the second", "date", "today"):
        assert words in page.text
    assert "What each computes" in page.text
    assert "What each computes" not in Page(html.write(report())).text


def test_a_box_hides_its_column_in_every_table_and_its_line_in_the_list() -> None:
    source = html.write_matrix(columns(), {})
    for number in range(2):
        selectors = f":is(.columns :is(td, th):nth-child({number + 2}), .each > li:nth-child({number + 1}))"
        assert f"body:has(#show-{number}:not(:checked)) {selectors} {{ display: none; }}" in source
    assert len(re.findall(r'<input type="checkbox"[^>]* checked="">', source)) == 2
    for table in re.findall(r'<table class="\w+ columns">.*?</table>', source, re.DOTALL):
        rows = re.findall(r"<tr>(.*?)</tr>", table, re.DOTALL)
        assert {len(re.findall(r"<t[dh]\b", row)) for row in rows} == {3}
    assert "choice" not in Page(html.write(report())).ids


def test_of_many_subjects_one_for_each_function_is_shown_at_first() -> None:
    names = ["numpy", "torch", "torch.sdpa", "torch.sdpa.math", "keras.ops on jax", "keras.ops on torch", "my:f", "a.b"]
    shown = choice.shown_at_first([Column(name) for name in names])
    assert [each.name for each in shown] == ["numpy", "torch.sdpa", "keras.ops on jax", "my:f", "a.b"]


ANSWERS = {
    "zero": ("all", "zero"),
    "the mean of the values": ("bad", "mean"),
    "error: ValueError: no": ("beside", "error"),
    "cannot be asked: it has no mask": ("none", "\N{EN DASH} cannot be asked: it has no mask"),
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_an_answer_is_a_word_with_a_colour_that_leads_to_all_of_it(answer: str) -> None:
    column = Column("mine", report("mine"), answers={questions()["empty-row"].title: answer})
    source = html.write_matrix([column], {})
    (row,) = re.findall(r'<table class="answers columns">.*?<tbody>(.*?)</tbody>', source, re.DOTALL)
    look, words = ANSWERS[answer]
    assert f'<td class="{look}"><a href="#answers-mine" title="{answer}">' in row
    assert re.sub("<[^>]*>", "", row[row.index("<td") :]).split() == words.split()
    assert "clause-attention.empty-row" in row
    assert answer in Page(source).text


def test_a_subject_is_said_in_a_sentence() -> None:
    text = "".join(Page(html.write(report("mine"))).words)
    verdicts = [clause.verdict for clause in report("mine").clauses]
    right, wrong = verdicts.count("conforms"), verdicts.count("fails")
    assert right > 0 < wrong
    assert f"right on {right} of {right + wrong} clauses; differs on: " in text
    others = sum(bool(clause.only_with) for clause in report("mine").clauses)
    assert f", and in the same cases on {others} more clause" in text
    assert "empty rows" in text


def test_columns_of_one_name_are_told_apart() -> None:
    page = Page(html.write_matrix([Column("a", report("a")), Column("a", report("a"))], {}))
    assert len(page.ids) == len(set(page.ids))


def test_a_matrix_of_twenty_subjects_is_small() -> None:
    many = [Column(f"subject {number}", report("mine")) for number in range(20)]
    assert len(html.write_matrix(many, {}).encode()) < 3e6


def test_a_page_without_reports_is_a_page() -> None:
    assert "Nothing was checked." in Page(html.write_matrix([Column("a", trouble="not installed: needs a")], {})).text


# Markdown


def test_markdown_shows_failures_and_folds_the_rest() -> None:
    written = markdown.write(report("mine"))
    seen = re.sub("<details>.*?</details>", "", written, flags=re.DOTALL)
    assert seen.startswith("### ✗ `mine` ")
    for clause in report("mine").clauses:
        assert (f"| `{clause.id}` |" in seen) == (clause.verdict == "fails")
        assert f"| `{clause.id}` |" in written
    assert written.count("<details>") == written.count("</details>")
    assert written.count("\n```text\n") == len(list(_fenced(written)))
    assert len(written) < 65536


def _fenced(written: str) -> Iterator[str]:
    yield from re.findall("^```text\n.*?\n```$", written, re.DOTALL | re.MULTILINE)


def test_markdown_tables_are_not_broken_by_what_is_in_them() -> None:
    for written in (markdown.write(report()), markdown.write_matrix(columns(), {NASTY: NASTY})):
        for table in re.findall(r"(?:^\|.*\n)+", f"{written}\n", re.MULTILINE):
            widths = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
            assert len(widths) == 1, table
        outside = re.sub("^(`{3,})text\n.*?\n\\1$", "", written, flags=re.DOTALL | re.MULTILINE)
        assert not re.search(r"(?<!\\)<b>", re.sub("(`+).*?\\1", "", outside))


def test_markdown_of_a_matrix_has_a_column_for_each_report() -> None:
    written = markdown.write_matrix(columns(), {"date": "today"})
    head = next(line for line in written.splitlines() if line.startswith("| clause"))
    assert "`second`" in head
    assert "`third`" not in head
    for words in ("not installed: needs third", "crashed: SIGSEGV", "the second", "date: today"):
        assert words in written


# text


def test_text_says_where_to_look_first() -> None:
    written = text.write(report())
    line = next(line for line in written.splitlines() if "look first at" in line)
    for clause in report().clauses:
        if clause.verdict == "fails" and not clause.is_optional:
            assert (f"{clause.id} (" in line) == (not clause.only_with)
    assert ", all of them cases of " in written


def test_text_blames_the_formula_alone_where_everything_fails() -> None:
    written = text.write(conformance.check(lambda query, key, value: value + 1, profiles=("core",)))
    line = next(line for line in written.splitlines() if "look first at" in line)
    assert re.findall(r"attention\.[a-z-]+", line) == ["attention.formula"]


def test_a_cell_has_the_number_that_its_sign_is_about() -> None:
    for clause in report().clauses:
        number = matrix.number(clause)
        if clause.verdict == "unsupported":
            assert number == ""
        elif clause.verdict == "conforms":
            assert float(number) <= 1
        else:
            assert number in ("", "∞") or float(number) > 1


@pytest.mark.parametrize(("profiles", "is_enough"), [(None, True), (("causal",), False)], ids=["all", "one"])
def test_a_level_is_shown_where_enough_was_run(
    profiles: tuple[str, ...] | None, is_enough: bool, validators: dict[str, Any]
) -> None:
    found = conformance.check(attention, dtypes=("float32",), profiles=profiles)
    validators["report"].validate(found.to_dict())
    for name in set(reports.FORMATS) - {"json"}:
        assert ("level 1 of 6 (plain); for formula it lacks core (" in reports.write(found, name)) == is_enough


# the command


@pytest.mark.parametrize("name", reports.FORMATS)
def test_check_writes_every_format(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["check", "numpy", "--case", "attention/core/plain"]
    assert cli.main([*arguments, "--format", name]) == command.CONFORMS
    printed = capsys.readouterr().out
    assert cli.main([*arguments, "--format", name, "--output", str(tmp_path / "report")]) == command.CONFORMS
    assert (tmp_path / "report").read_text() == f"{printed.rstrip()}\n"
    assert capsys.readouterr().out.startswith("numpy ")
    if name == "json":
        assert cli.main([*arguments, "--json"]) == command.CONFORMS
        assert capsys.readouterr().out == printed
    if name == "html":
        assert cli.main([*arguments, "--html", str(tmp_path / "page")]) == command.CONFORMS
        assert (tmp_path / "page").read_text() == (tmp_path / "report").read_text()


@pytest.mark.parametrize("other", ["--json", "--format junit", "--output elsewhere"])
def test_two_ways_to_name_the_report_are_refused(other: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", "numpy", "--html", "page", *other.split()]) == command.USAGE
    assert "--html FILE names the format and the file" in capsys.readouterr().err


def test_a_file_that_cannot_be_written_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["check", "numpy", "--case", "attention/core/plain", "--output", str(tmp_path)]
    assert cli.main(arguments) == command.USAGE
    assert "cannot be written" in capsys.readouterr().err
