"""`attention-ref laws`: a broken law, its counterexample in a file, and the same file once the function is mended."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from attention_ref import cli
from attention_ref.commands.command import CONFORMS, DIFFERS, USAGE
from attention_ref.conformance import LAWS

pytest.importorskip("hypothesis")

MINE = """
import numpy as np

def right(query, key, value):
    scores = query @ np.swapaxes(key, -1, -2) * query.dtype.type(query.shape[-1] ** -0.5)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True) @ value

def heads_last(query, key, value):
    return np.swapaxes(right(*(np.swapaxes(array, 1, 2) for array in (query, key, value))), 1, 2)

def later_values_weigh_more(query, key, value):
    return right(query, key, value * np.arange(1, value.shape[-2] + 1, dtype=value.dtype)[:, None])
"""
DIALECT = 'layout = "batch length heads size"\nheads = "equal"\nranks = [4]'
CHOICE = "--law key-permutation --dtype float32 --examples 20"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "ours.py").write_text(MINE)
    (tmp_path / "mine.toml").write_text(DIALECT)
    (tmp_path / "deep.json").write_text("[" * 100_000)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def laws(arguments: str) -> int:
    return cli.main(["laws", *arguments.split()])


def test_a_counterexample_is_found_saved_and_replayed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert laws(f"ours:later_values_weigh_more {CHOICE} --save broken") == DIFFERS
    found = capsys.readouterr().out
    assert "ours:later_values_weigh_more breaks laws" in found
    assert "value (1, 1, 2, 1)" in found  # two keys, one head, one number: it cannot be smaller
    (path,) = (folder / "broken").iterdir()
    assert path.name == "key-permutation.attention.float32.json"

    line = next(row.strip() for row in found.splitlines() if "reproduce: " in row)
    assert laws(line.removeprefix("reproduce: attention-ref laws ")) == DIFFERS
    capsys.readouterr()
    assert laws(f"ours:later_values_weigh_more --replay {path}") == DIFFERS
    assert "the subject returned: " in capsys.readouterr().out
    assert laws(f"ours:right --replay {path}") == CONFORMS


def test_a_function_speaks_its_dialect(capsys: pytest.CaptureFixture[str]) -> None:
    every = "--law head-independence --law query-independence --dtype float32 --examples 20"
    assert laws(f"ours:heads_last {every} --dialect mine.toml") == CONFORMS
    capsys.readouterr()
    assert laws(f"ours:right {every} --dialect mine.toml --json") == DIFFERS
    data = json.loads(capsys.readouterr().out)
    assert "fails" in {law["verdict"] for law in data["laws"]}


def test_laws_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert laws("--list") == CONFORMS
    listed = capsys.readouterr().out.splitlines()
    assert [law.id for law in LAWS if law.id not in listed] == []
    assert laws("--list --json") == CONFORMS
    assert [law["statement"] for law in json.loads(capsys.readouterr().out)] == [law.statement for law in LAWS]


def altered(change: Callable[[dict[str, Any]], object]) -> str:
    """Find a counterexample, change it, and return the name of its file."""
    assert laws(f"ours:later_values_weigh_more {CHOICE} --save broken") == DIFFERS
    (path,) = Path("broken").iterdir()
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))
    return str(path)


def first_term(data: dict[str, Any]) -> dict[str, Any]:
    return data["demands"][0]["left"][0]


ALTERED: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "unknown relation": (lambda data: data["demands"][0].update(relation="~"), "a relation must be = or <=, not '~'"),
    "another relation": (lambda data: data["demands"][0].update(relation=["="]), "must be = or <=, not ['=']"),
    "no relation": (lambda data: data["demands"][0].pop("relation"), "KeyError: 'relation'"),
    "nothing demanded": (lambda data: data.update(demands=[]), "it has no demands"),
    "a demand of nothing": (lambda data: data["demands"][0].update(left=[], right=[]), "a demand must have a term"),
    "text as demands": (lambda data: data.update(demands="all"), "TypeError"),
    "no calls": (lambda data: data.update(calls=[]), "no call 0 returns 'output'"),
    "a call below 0": (lambda data: first_term(data).update(call=-1), "no call -1 returns 'output'"),
    "another result": (lambda data: first_term(data).update(result="weights"), "no call 0 returns 'weights'"),
    "a place too far": (lambda data: first_term(data).update(places=[0, 99]), "output must lie between 0 and 1"),
    "a place below 0": (lambda data: first_term(data).update(places=[0, -1]), "output must lie between 0 and 1"),
    "more places": (lambda data: first_term(data).update(places=[0, 0, 0]), "lists of the same length"),
    "a budget of NaN": (lambda data: data["demands"][0].update(budgets=["NaN"]), "budgets of at least 0"),
    "a budget below 0": (lambda data: data["demands"][0].update(budgets=[-1]), "budgets of at least 0"),
    "no query": (lambda data: data["calls"][0]["inputs"].pop("query"), "KeyError: 'query'"),
    "a query of another shape": (lambda data: data["calls"][0]["inputs"]["query"].update(shape=[7]), "ValueError"),
    "inputs of a number": (lambda data: data["calls"][0].update(inputs=3), "AttributeError"),
    "a law of a number": (lambda data: data.update(law=3), "its names are not strings"),
    "an operation of a list": (lambda data: data.update(operation=[]), "its names are not strings"),
    "clauses of a number": (lambda data: data.update(clauses=3), "its names are not strings"),
    "another dtype": (lambda data: data.update(dtype="int8"), "of an unknown format or version"),
}


@pytest.mark.parametrize("name", ALTERED)
def test_an_altered_counterexample_is_refused(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    change, words = ALTERED[name]
    path = altered(change)
    capsys.readouterr()
    assert laws(f"ours:right --replay {path}") == USAGE
    captured = capsys.readouterr()
    assert captured.out == ""
    assert words in captured.err
    assert captured.err.startswith(f"attention-ref: {path} is ")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("ours:right --replay deep.json", "deep.json cannot be read: the JSON is nested too deeply"),
        (f"ours:later_values_weigh_more {CHOICE} --save ours.py", "ours.py cannot be written: Not a directory"),
        ("", "no SUBJECT given"),
        ("ours:right --law key-permutatoin", "did you mean key-permutation"),
        ("ours:rihgt", "did you mean right"),
        ("numpy --arrays torch", "--arrays applies to module:callable only; numpy defines its own"),
        ("numpy --dialect torch.sdpa", "--dialect applies to module:callable only; numpy defines its own"),
        ("ours:right --dialect torch.spda", "did you mean torch.sdpa"),
        ("ours:right --replay mine.toml", "mine.toml"),
    ],
)
def test_a_command_that_makes_no_sense_says_what_would(
    arguments: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert laws(arguments) == USAGE
    captured = capsys.readouterr()
    assert captured.out == ""
    assert words in captured.err
