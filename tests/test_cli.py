"""The command: what it prints, what it exits with, what it loads."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import attention_ref
from attention_ref import backends, cli
from attention_ref.commands import command, named_subjects
from attention_ref.conformance import UsageError, check
from attention_ref.conformance.reports import text

ROOT = Path(attention_ref.__file__).parent.parent
FRAMEWORKS = {"torch", "tensorflow", "keras", "jax", "onnx", "onnxruntime"}
MINE = """
import os
import numpy as np

def right(query, key, value):
    scores = query @ np.swapaxes(key, -1, -2) * query.dtype.type(query.shape[-1] ** -0.5)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True) @ value

def noisy(query, key, value):
    print("python prints")
    os.write(1, b"C prints\\n")
    return right(query, key, value)

def wrong(query, key, value):
    return right(query, key, value) + 1

number = 3
"""
CASE = "attention/core/plain"


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("JAX_ENABLE_X64", "KERAS_BACKEND"):
        monkeypatch.setenv(name, os.environ.get(name, ""))  # so that what a command sets is undone


def run(*arguments: str, cwd: Path = ROOT, code: str = "") -> subprocess.CompletedProcess[str]:
    """Run the command as the console script does, without the working directory on the path; `code` instead of it."""
    command = [sys.executable, "-P", *(["-c", code] if code else ["-m", "attention_ref"]), *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=600, check=False)


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(MINE)
    return tmp_path


@pytest.mark.long
def test_checking_numpy_conforms_and_loads_no_framework() -> None:
    code = "import sys; from attention_ref.cli import main; code = main(['check', 'numpy']); "
    done = run(code=code + "print(code, *(name for name in sys.modules if '.' not in name))")
    report, _, last = done.stdout.rstrip().rpartition("\n")
    assert report.startswith("numpy ")
    assert " conforms to specification " in report.partition("\n")[0]
    exit_code, *modules = last.split()
    assert exit_code == "0", report
    assert not FRAMEWORKS & set(modules)
    assert done.stderr == ""


@pytest.mark.parametrize("arguments", [["--help"], ["check", "--help"], ["--version"]])
def test_help_loads_nothing(arguments: list[str]) -> None:
    code = f"import sys, atexit; atexit.register(lambda: print(*sys.modules)); sys.argv[1:] = {arguments}; "
    done = run(code=code + "from attention_ref.cli import main; main()")
    assert done.returncode == 0, done.stderr
    assert "attention-ref" in done.stdout
    assert not (FRAMEWORKS | {"numpy"}) & set(done.stdout.rstrip().rpartition("\n")[2].split())


@pytest.mark.parametrize(("name", "exit_code", "verdict"), [("right", 0, "conforms"), ("wrong", 1, "does not conform")])
def test_a_function_of_ones_own_is_checked(mine: Path, name: str, exit_code: int, verdict: str) -> None:
    done = run("check", f"mine:{name}", "--case", CASE, "--dtype", "float32", cwd=mine)
    assert done.returncode == exit_code, done.stderr
    assert done.stdout.startswith(f"mine:{name} {verdict} to specification")
    assert "\033" not in done.stdout + done.stderr
    assert done.stderr == ""


def test_the_line_that_reproduces_a_failure_does(mine: Path) -> None:
    first = run("check", "mine:wrong", "--profile", "core", "--verbose", cwd=mine)
    line = next(line for line in first.stdout.splitlines() if "reproduce:" in line).partition("reproduce: ")[2]
    program, *arguments = shlex.split(line)
    assert program == "attention-ref"
    again = run(*arguments, "--verbose", cwd=mine)
    assert again.returncode == 1
    assert "1 case of attention: 0 passed, 1 failed, 0 unsupported" in again.stdout
    assert line in again.stdout
    place = next(row for row in again.stdout.splitlines() if row.strip().startswith("output["))
    assert place in first.stdout


def test_json_is_not_disturbed_by_what_is_printed(mine: Path) -> None:
    done = run("check", "mine:noisy", "--case", CASE, "--json", cwd=mine)
    assert json.loads(done.stdout)["passed"] is True
    assert "python prints" in done.stderr
    assert "C prints" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "exit_code"), [("list cases", 0), (f"check mine:right --case {CASE}", 0), ("check mine:wrong", 1)]
)
def test_a_reader_that_has_seen_enough_changes_nothing(mine: Path, arguments: str, exit_code: int) -> None:
    code = "import subprocess, sys\n"
    code += f"words = [sys.executable, '-m', 'attention_ref', *{arguments.split()}]\n"
    code += "p = subprocess.Popen(words, stdout=subprocess.PIPE)\n"
    done = run(code=code + "p.stdout.close(); print(p.wait())", cwd=mine)
    assert (done.stdout, done.stderr) == (f"{exit_code}\n", "")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("check", "give exactly one of SUBJECT, --exec and --outputs"),
        ("check numpy --exec ./program", "not --exec and SUBJECT"),
        ("check --exec ./no-such-program", "./no-such-program cannot be started: No such file or directory"),
        ("check --exec ./program --arrays torch", "--arrays applies to a SUBJECT only"),
        ("check --exec ./program --operation convolution", "there is no operation 'convolution'"),
        ("check --outputs no/such/folder", "there is no folder no/such/folder"),
        ("check numpy --timeout -1", "--timeout must be a number of seconds, or 0, not -1"),
        ("check numpy --timeout nan", "--timeout must be a number of seconds, or 0, not nan"),
        ("check numpy --timeout inf", "--timeout must be a number of seconds, or 0, not inf"),
        ("check numpy --timeout 1e300", "--timeout must be a number of seconds, or 0, not 1e+300"),
        ("check --exec ./program --timeout nan", "--timeout must be a number of seconds, or 0, not nan"),
        (f"check mine:right --case {CASE} --output no/where", "no/where cannot be written: No such file"),
        ("check numpy --answers no/where", "no/where cannot be written: No such file or directory"),
        ("check mine:right --dialect latin.toml", "latin.toml is not valid TOML: 'utf-8' codec can't decode"),
        ("check mine:right --dialect deep.toml", "deep.toml is nested too deeply"),
        ("check mine:right --dialect digits.toml", "digits.toml is not valid TOML: "),
        ("check numpy --known-failures digits.toml", "digits.toml cannot be read: "),
        ("check mine:right --dialect pipe.toml", "pipe.toml cannot be read: it is not a regular file"),
        ("check numpy --known-failures pipe.toml", "pipe.toml cannot be read: "),
        ("laws numpy --replay pipe.toml", "pipe.toml cannot be read: "),
        ("check numpy --known-failures latin.toml", "latin.toml cannot be read: 'utf-8' codec can't decode"),
        ("check numpy --known-failures deep.toml", "deep.toml cannot be read: the TOML is nested too deeply"),
        ("check numpy --claim cor", "there is no profile to claim 'cor'; did you mean core"),
        ("check --outputs . --seed 3", "--seed cannot be used with --outputs"),
        ("check numpy --known-failures no-such.toml", "no-such.toml cannot be read"),
        ("check numpi", "did you mean numpy?"),
        ("check nowhere:function", "nowhere cannot be imported: ModuleNotFoundError"),
        ("check mine:rihgt", "did you mean right?"),
        ("check mine:number", "mine:number is not callable"),
        ("check broken:function", "broken cannot be imported: ZeroDivisionError"),
        ("check numpy --profile cor", "did you mean core"),
        ("check numpy --dtype float31", "choose from: float64, float32, float16, bfloat16"),
        ("check numpy --case attention/core/plane", "did you mean attention/core/plain"),
        ("check numpy --operation convolution", "choose from: attention, additive_attention, multiplicative_attention"),
        ("check numpy --engine jax", "numpy does not use Keras"),
        ("check mine:right --arrays torch --engine jax", "mine:right does not use Keras"),
        ("check numpy --arrays torch", "--arrays applies to module:callable only"),
        ("explain atention.causal", "did you mean attention.causal"),
    ],
)
def test_a_command_that_makes_no_sense_says_what_would(
    arguments: str, words: str, mine: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (mine / "broken.py").write_text("1 / 0")
    (mine / "latin.toml").write_bytes('layout = "é"'.encode("latin-1"))
    (mine / "digits.toml").write_text(f"layout = {'9' * 5000}")
    os.mkfifo(mine / "pipe.toml")
    (mine / "deep.toml").write_text(f"layout = {'[' * 5000}")
    monkeypatch.syspath_prepend(mine)
    monkeypatch.chdir(mine)
    assert cli.main(arguments.split()) == command.USAGE
    captured = capsys.readouterr()
    assert captured.out == ""
    assert words in captured.err


@pytest.mark.parametrize("arguments", ["", "chek numpy", "check keras --engine mxnet", "list colours"])
def test_a_command_that_cannot_be_read_exits_with_2(arguments: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments.split())
    assert stopped.value.code == command.USAGE
    assert "usage: attention-ref" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("list", ["torch.sdpa", "attention/causal", "attention.causal"]),
        ("list cases", [CASE]),
        (
            "explain causal",
            ["attention.causal: ", "Why: ", "How others differ: ", "Sources:", "attention/causal/square"],
        ),
        ("explain attention.formula", ["foundation", "every case of the operation"]),
        (
            "explain attention/causal/square",
            ["Catches: ", "References:", "query (", "expected output (", '"causal": true'],
        ),
        ("doctor", ["Python", "numpy", "Keras engine", "OMP_NUM_THREADS", "torch.sdpa"]),
        (f"check numpy --case {CASE} --dtype all", ["float64, float32"]),
        ("check numpy --profile gqa --profile causal", ["attention.heads", "attention.causal"]),
        (f"check numpy:reference --case {CASE} --verbose", ["numpy:reference"]),
        ("diagnose numpy:fused", ["numpy:fused"]),
    ],
)
def test_a_command_prints_what_it_is_asked_for(
    arguments: str, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments.split()) == command.CONFORMS
    printed = capsys.readouterr().out
    assert [word for word in words if word not in printed] == []


@pytest.mark.parametrize("arguments", ["list", "list cases", "explain causal", f"explain {CASE}", "doctor"])
def test_every_command_writes_json(arguments: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*arguments.split(), "--json"]) == command.CONFORMS
    assert json.loads(capsys.readouterr().out)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no file that is always full")
@pytest.mark.parametrize("arguments", ["list", "explain causal", f"check numpy --case {CASE}"])
def test_a_full_disk_is_named(arguments: str) -> None:
    code = "import subprocess, sys\n"
    code += f"words = [sys.executable, '-m', 'attention_ref', *{arguments.split()}]\n"
    done = run(code=code + "print(subprocess.run(words, stdout=open('/dev/full', 'w')).returncode)")
    assert done.stdout == f"{command.USAGE}\n"
    assert done.stderr == "attention-ref: <stdout> cannot be written: No space left on device\n"


def test_what_an_encoding_lacks_is_escaped(mine: Path) -> None:
    (mine / "odd.py").write_text("def f(query, key, value): raise ValueError(chr(0xD800) + chr(0xE9))")
    done = run("check", "odd:f", "--case", CASE, cwd=mine)
    assert done.returncode == 1
    assert "it raises ValueError: \\ud800" in done.stdout


def test_colour_is_only_used_where_it_is_wanted() -> None:
    report = check(lambda query, key, value: value, cases=CASE)
    assert "\033[31mfails" in text.write(report, colour=True)
    assert "\033" not in str(report)


def test_an_engine_is_chosen_for_keras_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(named_subjects, "find_spec", lambda name: name == "jax" or None)
    monkeypatch.delenv("JAX_ENABLE_X64")
    named_subjects.choose_engine("torch.sdpa", "numpy", None)
    assert "JAX_ENABLE_X64" not in os.environ
    named_subjects.choose_engine("keras.ops", "numpy", "jax")
    assert (os.environ["KERAS_BACKEND"], os.environ["JAX_ENABLE_X64"]) == ("jax", "1")
    with pytest.raises(UsageError, match="tensorflow is not installed"):
        named_subjects.choose_engine("keras", "numpy", "tensorflow")


@pytest.mark.parametrize(("engine", "written"), [("jax", '{"backend": "jax"}'), ("tensorflow", "{")])
def test_the_engine_is_known_without_importing_keras(
    engine: str, written: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "keras", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setenv("KERAS_BACKEND", "")
    (tmp_path / "keras.json").write_text(written)
    assert backends.engine() == engine
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    assert backends.engine() == "torch"
    assert "keras" not in sys.modules


def test_a_backend_that_cannot_be_had_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    assert attention_ref.backend("numpy").__name__ == "attention_ref.numpy"
    assert "numpy" in attention_ref.available()
    with pytest.raises(ValueError, match="the backends are numpy, torch, keras, keras-tensorflow"):
        attention_ref.backend("mxnet")
    monkeypatch.setattr(backends, "engine", lambda: "torch")
    monkeypatch.setattr(backends, "find_spec", lambda name: name)
    with pytest.raises(RuntimeError, match=r"Keras runs on torch in this process. Set .* KERAS_BACKEND=jax before"):
        attention_ref.backend("keras-jax")
    monkeypatch.setattr(backends, "find_spec", lambda _: None)
    assert attention_ref.available() == ()
    with pytest.raises(ModuleNotFoundError, match=r'pip install "attention-ref\[torch\]"'):
        attention_ref.backend("torch")


def test_parts_are_loaded_by_name() -> None:
    assert attention_ref.spec.VERSION
    assert {"spec", "conformance", "torch", "__version__"} <= set(dir(attention_ref))
    with pytest.raises(AttributeError, match="no attribute 'jax'"):
        _ = attention_ref.jax


CALLED = "mine:noisy --case attention/core/plain"


@pytest.mark.parametrize(
    "arguments",
    [
        f"check {CALLED} --output FILE",
        f"check {CALLED} --html FILE",
        f"check {CALLED} --write-dialect FILE",
        f"check {CALLED} --answers FILE",
        "judge mine:noisy --json FILE",
        "bench --backends nowhere --json FILE",
        "bench --backends nowhere --html FILE",
        "bench --backends nowhere --plot FILE.svg",
        "peers numpy --html FILE",
        "peers numpy --markdown FILE",
        "peers numpy --json FILE",
        "laws mine:noisy --save FILE",
        "locate nowhere:a nowhere:b --plot FILE.svg",
        "convert nowhere FILE --to llama",
        "convert nowhere FILE --to attention_ref",
        "vectors export FILE",
    ],
)
@pytest.mark.parametrize("target", ["no/where", "mine.py/file"])
def test_what_cannot_be_written_is_refused_before_anything_runs(
    arguments: str, target: str, mine: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The subject prints when it is called; a model or a contestant that does not exist would be refused later."""
    takes_folder = any(word in arguments for word in ("laws", "llama", "vectors"))
    if takes_folder and target == "no/where":
        pytest.skip("a folder is made")
    if "plot" in arguments:
        pytest.importorskip("matplotlib")
    monkeypatch.chdir(mine)
    assert cli.main(arguments.replace("FILE", target).split()) == 2
    printed, errors = capfd.readouterr()
    assert printed == ""
    assert len(errors.splitlines()) == 1
    assert target in errors
    assert "cannot be written" in errors or "vectors" in arguments
    assert sorted(path.name for path in mine.iterdir() if path.name != "__pycache__") == ["mine.py"]


def test_a_report_of_before_stays_where_the_next_is_refused(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(mine)
    (mine / "report").write_text("of before")
    assert cli.main(["judge", "mine:rihgt", "--json", "report"]) == 2
    assert cli.main(["peers", "no-peer", "--json", "report"]) == 2
    assert cli.main(["bench", "--backends", "nowhere", "--json", "report"]) == 2
    assert (mine / "report").read_text() == "of before"
