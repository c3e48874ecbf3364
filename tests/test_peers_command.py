"""`attention-ref peers`: every peer in a process of its own, also one that crashes, hangs or is not there."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from attention_ref import backends, cli
from attention_ref.commands import children, command, named_subjects, peers
from attention_ref.conformance.peers import PEERS
from attention_ref.conformance.reports import matrix

DOUBLES = """
import os, signal, subprocess, sys, time

def wrong(query, key, value):
    print("a line on stdout")
    return value

def crashing(query, key, value):
    print("the last words", file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGSEGV)

def leaving(query, key, value):
    os._exit(7)

def hanging(query, key, value):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    print("still thinking", file=sys.stderr, flush=True)
    with open("writing", "w") as file:
        file.write(f"{os.getpid()} {child.pid}")
    os.rename("writing", "pids")
    time.sleep(600)
"""
FRAGILE = """
import os

def attention(query, key, value):
    if query.dtype == "int32":
        os._exit(7)
    return value
"""
LENGTH_FIRST = """
import attention_ref.numpy as ar

def attention(query, key, value):
    swapped = (array.swapaxes(-2, -3) for array in (query, key, value))
    return ar.attention(*swapped).swapaxes(-2, -3)
"""
PLAIN = ("--profile", "core", "--dtype", "float32")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "doubles.py").write_text(DOUBLES)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(cli.__file__).parent.parent))
    return tmp_path


def test_one_that_crashes_or_is_wrong_keeps_no_other_from_its_report(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["numpy", "doubles:crashing", "doubles:leaving", "doubles:wrong", "doubles:missing"]
    files = {kind: str(folder / kind) for kind in ("html", "markdown", "json")}
    options = [word for kind, path in files.items() for word in (f"--{kind}", path)]
    assert cli.main(["peers", *names, *PLAIN, *options, "--date", "1 May"]) == command.CONFORMS
    captured = capsys.readouterr()
    assert [line.split()[0] for line in captured.out.splitlines()] == names
    assert "a line on stdout" not in captured.out
    assert "5/5" in captured.err
    data = json.loads((folder / "json").read_text())
    assert data["facts"]["date"] == "1 May"
    found = {each.name: each for each in matrix.read(data)}
    assert found["numpy"].report is not None
    assert found["numpy"].report.passed
    assert found["doubles:wrong"].report is not None
    assert not found["doubles:wrong"].report.passed
    assert found["doubles:crashing"].trouble == "crashed: SIGSEGV"
    assert found["doubles:crashing"].lines[-1] == "the last words"
    assert found["doubles:leaving"].trouble == "ended with exit code 7 and without a report"
    assert found["doubles:missing"].trouble == "cannot be checked"
    assert "there is no callable of doubles 'missing'" in "\n".join(found["doubles:missing"].lines)
    for kind in ("html", "markdown"):
        written = (folder / kind).read_text()
        for words in ("crashed: SIGSEGV", "the last words", "1 May"):
            assert words in written


def test_a_function_is_called_as_the_command_line_says(folder: Path) -> None:
    (folder / "mine.py").write_text(LENGTH_FIRST)
    (folder / "mine.toml").write_text('layout = "batch length heads size"\n')
    options = ["mine:attention", *PLAIN, "--no-questions", "--dialect", "mine.toml", "--json", "report.json"]
    assert cli.main(["peers", *options]) == command.CONFORMS
    (column,) = matrix.read(json.loads((folder / "report.json").read_text()))
    assert column.report is not None
    assert column.report.passed


def test_one_that_hangs_is_stopped_with_all_that_it_has_started(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    started = 1000.0
    clock = SimpleNamespace(monotonic=lambda: started + 6 * (folder / "pids").exists(), sleep=time.sleep)
    monkeypatch.setattr(children, "time", clock)  # 6 seconds pass when the peer hangs, however slow the machine is
    assert cli.main(["peers", "doubles:hanging", *PLAIN, "--time-limit", "6", "--json", "found"]) == command.CONFORMS
    assert "stopped after 6 s" in capsys.readouterr().out
    (found,) = json.loads((folder / "found").read_text())["peers"]
    assert found["lines"] == ["still thinking"]
    for pid in map(int, (folder / "pids").read_text().split()):
        assert _ends(pid)


def _ends(pid: int) -> bool:
    """Wait until a process is gone, or dead and not yet buried by its new parent."""
    for _ in range(12_000):
        stat = Path(f"/proc/{pid}/stat")
        try:
            os.kill(pid, 0)
            if stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.05)
    os.kill(pid, signal.SIGKILL)
    return False


def _installed(*names: str) -> Callable[[str], object]:
    return lambda name: name if name in names else None


def test_everything_that_there_is_is_planned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(named_subjects, "missing", lambda name: ("onnx",) if name == "onnx.reference" else ())
    monkeypatch.setattr(peers, "find_spec", _installed("jax", "torch"))
    plan = peers._plan([])
    assert {run.subject for run in plan} == {
        *backends.ROOMS,
        *(name for name, peer in PEERS.items() if not peer.is_slow),
    }
    on_keras = [name for name in named_subjects.names() if named_subjects.kind(name) == "keras"]
    assert {"keras", "keras.ops"} <= set(on_keras)
    for name in on_keras:
        engines = ["jax", "torch"] if name != "keras_hub" else [None]
        assert [run.engine for run in plan if run.subject == name] == engines
    without = [name for name, peer in PEERS.items() if not peer.attention]
    assert {run.name for run in plan if run.lacks} == {"onnx.reference", *without}
    assert len({run.name for run in plan}) == len(plan)


@pytest.mark.parametrize(
    ("missing", "engines", "lacks"),
    [
        (("keras", "tensorflow"), ("torch",), "not installed: needs keras"),
        (("tensorflow",), (), "not installed: needs tensorflow or jax or torch"),
    ],
)
def test_what_is_not_installed_is_listed(
    missing: tuple[str, ...], engines: tuple[str, ...], lacks: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(named_subjects, "missing", lambda _: missing)
    monkeypatch.setattr(peers, "find_spec", _installed(*engines))
    assert [(run.name, run.lacks) for run in peers._plan(["keras"])] == [("keras", lacks)]


def test_only_what_is_not_installed_makes_a_matrix_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(named_subjects, "missing", lambda _: ("torch",))
    assert cli.main(["peers", "torch.sdpa"]) == command.CONFORMS
    assert capsys.readouterr().out.split() == ["torch.sdpa", "-", "not", "installed:", "needs", "torch"]


def test_everybody_is_asked_what_it_computes(folder: Path) -> None:
    pytest.importorskip("onnx")
    arguments = ["peers", "numpy", "onnx.reference", "doubles:wrong", *PLAIN, "--json", "found", "--markdown", "matrix"]
    assert cli.main(arguments) == command.CONFORMS
    answers = {each.name: each.answers for each in matrix.read(json.loads((folder / "found").read_text()))}
    assert answers["numpy"]["a scale below 0"] == "multiplies"
    assert answers["onnx.reference"]["a scale below 0"] == "NaN"
    assert answers["doubles:wrong"]["a scale below 0"] == "cannot be asked: it has no scale"
    assert (
        "| a scale below 0 | multiplies | NaN | cannot be asked: it has no scale |" in (folder / "matrix").read_text()
    )


@pytest.mark.usefixtures("folder")
def test_questions_and_gradients_are_asked_as_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    for words, gradients, asked in (("--no-questions", False, False), ("--gradients", True, True)):
        arguments = ["peers", "doubles:wrong", "--dtype", "float32", "--json", "found", words]
        assert cli.main(arguments) == command.CONFORMS
        (found,) = matrix.read(json.loads(Path("found").read_text()))
        assert found.report is not None
        assert any(result.case.cotangents for result in found.report.results) == gradients
        assert bool(found.answers) == asked
    assert "1/1" in capsys.readouterr().err


def test_a_question_that_ends_the_process_costs_the_answers_after_it(folder: Path) -> None:
    (folder / "fragile.py").write_text(FRAGILE)
    assert cli.main(["peers", "fragile:attention", *PLAIN, "--json", "found"]) == command.CONFORMS
    (found,) = matrix.read(json.loads((folder / "found").read_text()))
    assert found.report is not None
    assert found.answers
    assert "query, key and value of integers" not in found.answers


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("numpi", "did you mean numpy"),
        ("numpy --operation x", "there is no operation 'x'"),
        ("numpy --operation layer_norm --profile x", "there is no profile 'x'"),
        ("numpy --profile cor", "did you mean core"),
        ("numpy --dtype int8", "there is no dtype 'int8'"),
        ("numpy --arrays torch", "none is among the names"),
        ("some:function --dialect torch.sdp", "did you mean"),
        ("numpy --html no/where", "no/where cannot be written"),
    ],
)
def test_what_makes_no_sense_is_said_before_anything_runs(
    arguments: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["peers", *arguments.split()]) == command.USAGE
    captured = capsys.readouterr()
    assert words in captured.err
    assert "1/1" not in captured.err


@pytest.mark.parametrize("arguments", ["--jobs 0", "--jobs two", "--time-limit -1"])
def test_a_number_that_makes_no_sense_exits_with_2(arguments: str) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["peers", *arguments.split()])
    assert stopped.value.code == command.USAGE
