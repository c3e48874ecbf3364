"""Programs as subjects: whatever they do, there is a clear verdict; and numbers arrive as they were sent."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest

import attention_ref
from attention_ref import vectors
from attention_ref.conformance import Report, UsageError, check_subject
from attention_ref.conformance.case import Case, cases
from attention_ref.conformance.errors import SubjectError
from attention_ref.conformance.run import select
from attention_ref.conformance.subjects import protocol
from attention_ref.conformance.subjects.last_lines import LastLines
from attention_ref.conformance.subjects.program import Program, program
from attention_ref.vectors.array_forms import to_json

CASE = "attention/core/plain"
EXAMPLES = Path(__file__).parent.parent / "docs" / "kit"
FRAME = """
import json, os, signal, sys, time
SHAPE = [2, 2, 3, 4]
def zeros(number, shape=SHAPE, count=48, **more):
    result = {"shape": shape, "values": [0.0] * count, **more}
    return {"id": number, "results": {"output": result}}
def say(answer):
    print(answer if isinstance(answer, str) else json.dumps(answer), flush=True)
for line in sys.stdin:
    request = json.loads(line)
    number = request["id"]
"""
RIGHT = """
from attention_ref import spec
def array(item):
    values = [float(x) if isinstance(x, str) else x for x in item["values"]]
    return spec.Array(tuple(item["shape"]), values, item["dtype"])
def answered(request):
    arrays = {name: array(item) for name, item in request["inputs"].items()}
    found = spec.attention(**arrays, **request["options"])
    found = found if isinstance(found, tuple) else (found,)
    named = lambda x: x if abs(x) < float("inf") else str(x).replace("inf", "Infinity").replace("nan", "NaN")
    results = {
        name: {"shape": list(each.shape), "dtype": request["dtype"], "values": [named(float(x)) for x in each.values]}
        for name, each in zip(request["results"], found)
    }
    return {"id": request["id"], "results": results}
"""


class OnceItHangs(threading.Timer):
    """Rings when the program says by a file that it hangs, however slow the machine is."""

    def run(self) -> None:
        while not self.finished.wait(0.02):
            if Path("hangs").exists():
                Path("hangs").unlink()
                self.function()
                return


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Report]:
    """Check a program that is written in Python, in one case or in those of a pattern."""

    monkeypatch.setenv("PYTHONPATH", str(Path(attention_ref.__file__).parent.parent))

    def check(body: str, pattern: str = CASE, *, timeout: float = 600, before: str = "") -> Report:
        path = tmp_path / "program.py"
        path.write_text(before + FRAME + "".join(f"    {line}\n" for line in body.splitlines()))
        subject = program([sys.executable, str(path)], timeout=timeout)
        return check_subject(subject, cases=pattern, dtypes=("float64",))

    return check


def test_a_right_program_conforms_and_numbers_arrive_as_they_were_sent(run) -> None:
    report = run("say(answered(request))", "attention/core/*", before=RIGHT)
    assert report.passed, str(report)
    assert {result.verdict for result in report.results} == {"passed"}
    assert max(result.error_ratio for result in report.results) < 0.5  # of a budget of roundings: no digit is lost


BAD = {
    "wrong numbers": ("say(zeros(number))", "]: expected"),
    "NaN": ("a = zeros(number); a['results']['output']['values'][7] = 'NaN'; say(a)", "got nan"),
    "a NaN that is not JSON": (
        "a = zeros(number); a['results']['output']['values'][0] = float('nan'); say(a)",
        "got nan",
    ),
    "null": (
        "a = zeros(number); a['results']['output']['values'][5] = None; say(a)",
        'output.values[5] is null, not a number, "NaN", "Infinity" or "-Infinity"',
    ),
    "nested values": (
        "a = zeros(number); a['results']['output']['values'] = [[0.0] * 24] * 48; say(a)",
        "output.values[0] is [0.0, 0.0",
    ),
    "shape": ("say(zeros(number, [2, 2, 3, 1], 12))", "output has the shape (2, 2, 3, 1) instead of (2, 2, 3, 4)"),
    "dtype": ("say(zeros(number, dtype='float32'))", "output has the dtype float32 instead of float64"),
    "too few values": ("say(zeros(number, count=47))", "output has 47 values instead of the 48 of its shape"),
    "no shape": ("say({'id': number, 'results': {'output': [0.0]}})", "output is [0.0], not an object with shape and"),
    "no result": ("say({'id': number, 'results': {}})", "its answer lacks output"),
    "an empty answer": ("say({'id': number})", "its answer has neither results nor unsupported nor error"),
    "error": ("say({'id': number, 'error': 'out of\\nmemory'})", "it answers with an error: out of memory"),
    "another id": ("say(zeros(number + 1))", "it answers with the id 2 to the request 1"),
    "prints": ("print('loading model'); say(zeros(number))", "a line that is not JSON: 'loading model'"),
    "a nan of C": (
        "say(json.dumps(zeros(number)).replace('0.0]', 'nan]'))",
        " 0.0, nan]}}}'",
    ),
    "taps that are a number": ("a = zeros(number); a['taps'] = 3; say(a)", "its taps are 3, not an object"),
    "a lone surrogate": ("say({'id': number, 'error': chr(0xD800)})", "it answers with an error: "),
    "a list": ("say('[1]')", "it writes a line that is not a JSON object: '[1]'"),
    "deep": ("say('[' * 100000)", "it writes JSON that is nested too deeply"),
    "bytes": ("os.write(1, b'\\xff\\n')", r"a line that is not JSON: '\\xff'"),
    "exits": ("print('bad\\nluck', file=sys.stderr); sys.exit(3)", "it exits with code 3 before it answers"),
    "exits quietly": ("sys.exit(0)", "it exits with code 0 before it answers"),
    "raises": ("raise ZeroDivisionError('on purpose')", "ZeroDivisionError: on purpose"),
    "dies in the middle": ("os.write(1, b'{\"id\": 1'); sys.exit(0)", "in the middle of the line '{\"id\": 1'"),
    "segfaults": ("os.kill(os.getpid(), signal.SIGSEGV)", "it is killed by SIGSEGV (Segmentation fault) before"),
    "closes its output": ("os.close(1); time.sleep(600)", "it closes its output before it answers"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_program_fails_and_the_report_says_why(name: str, run) -> None:
    body, words = BAD[name]
    report = run(body)
    assert not report.passed
    assert [result.verdict for result in report.results] == ["failed"]
    assert words in str(report)


def test_the_end_of_stderr_is_shown_line_by_line(run) -> None:
    text = str(run("print('bad\\nluck', file=sys.stderr); sys.exit(3)"))
    lines = [line.strip() for line in text.splitlines()]
    assert lines[lines.index("last lines of its stderr:") :][:3] == ["last lines of its stderr:", "bad", "luck"]


def test_a_program_that_floods_its_stderr_fills_no_disk(run) -> None:
    body = """import stat
if not stat.S_ISFIFO(os.fstat(2).st_mode): sys.exit(4)
for _ in range(512): os.write(2, b"noise " * 10_000 + b"\\n")
print('the last line', file=sys.stderr); sys.exit(3)"""
    text = str(run(body))
    assert "it exits with code 3 before it answers" in text
    assert "the last line" in text
    assert len(text) < 100_000


def test_the_end_of_what_a_process_writes_is_kept_alone() -> None:
    command = [sys.executable, "-c", "for i in range(100_000): print(i)"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        found = LastLines(process.stdout)
        lines = found.lines(timeout=600)
    assert lines[-3:] == ["99997", "99998", "99999"]
    assert len(found._end) == 1 << 13


@pytest.mark.parametrize("body", ["time.sleep(600)", "while True: pass", "signal.pause()"])
def test_a_program_that_hangs_is_ended(body: str, run) -> None:
    report = run(body, timeout=1)
    assert report.results[0].reason == "it does not answer within 1 s"


def test_a_program_that_does_not_read_is_ended() -> None:
    (case,) = (case for case in cases("attention", "core") if case.id == CASE)
    more_than_a_pipe_holds = replace(case, call=replace(case.call, inputs={"query": np.zeros(100_000)}))
    with pytest.raises(SubjectError, match="it does not answer within"):
        Program([sys.executable, "-c", "import time; time.sleep(60)"], 0.5).answer(more_than_a_pipe_holds, "float64")


def test_a_program_that_hangs_again_and_again_is_left_alone(run) -> None:
    report = run("time.sleep(60)", "attention/core/*", timeout=0.3)
    assert [result.verdict for result in report.results][:4] == ["failed"] * 3 + ["unsupported"]
    assert "not run: earlier calls timed out" in str(report)


@pytest.mark.parametrize(
    "fault",
    ["sys.exit(1)", "open('hangs', 'w').close(); time.sleep(600)", "print('noise')", "say(zeros(number + 1))"],
)
def test_a_program_is_started_again_after_it_failed(
    fault: str, run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(threading, "Timer", OnceItHangs)
    body = f"if request['case'] == '{CASE}': {fault}\nsay(answered(request))"
    report = run(body, "attention/core/[ps]*", before=RIGHT)
    verdicts = {result.case.id: result.verdict for result in report.results}
    assert verdicts.pop(CASE) == "failed"
    assert len(verdicts) > 1
    assert set(verdicts.values()) == {"passed"}


def test_an_unsupported_answer_counts_neither_way(run) -> None:
    report = run("say({'id': number, 'unsupported': 'no attention on Tuesdays'})")
    assert [result.verdict for result in report.results] == ["unsupported"]
    assert "1 case: no attention on Tuesdays" in str(report)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("./no-such-program --fast", "./no-such-program cannot be started: No such file or directory"),
        (str(Path(__file__)), "cannot be started: Permission denied"),
        ("'", "is not a command: No closing quotation"),
        ("  ", "the command is empty"),
    ],
)
def test_a_program_that_cannot_be_started_is_an_error_of_use(command: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        check_subject(program(command), cases=CASE)


def test_a_program_ends_with_its_subject(tmp_path: Path) -> None:
    path = tmp_path / "program.py"
    path.write_text(FRAME + "    say(zeros(number))\n")
    asked = Program([sys.executable, str(path)], 20)
    assert asked.answer(cases("attention", "core")[0], "float64").results["output"].shape == (2, 2, 3, 4)
    process = asked._running()
    asked.close()
    assert process.poll() == 0  # it saw the end of its input


def every_check() -> list[tuple[Case, str]]:
    return select(vectors.operations(), None, ("float64", "float32", "float16", "bfloat16"))


def test_every_request_fits_its_schema_and_reads_back_as_the_same_numbers() -> None:
    validator = jsonschema.Draft202012Validator(protocol.schema("request"))
    validator.check_schema(protocol.schema("request"))
    chosen = {case.operation + case.profile: (case, dtype) for case, dtype in every_check()}
    for case, dtype in chosen.values():
        request = json.loads(protocol.request(case, dtype, 1), parse_constant=pytest.fail)
        validator.validate(request)
        for name, values in (*case.call.inputs.items(), *case.call.parameters.items()):
            sent = request["parameters" if name in case.call.parameters else "inputs"][name]
            read = np.array(sent["values"], values.dtype).reshape(sent["shape"])
            assert read.tobytes() == values.tobytes() or np.isnan(values).any()


@pytest.mark.parametrize("value", [math.pi, 5e-324, 1.7976931348623157e308, -0.0, math.inf, -math.inf, math.nan, 0.1])
def test_a_number_survives_both_ways(value: float) -> None:
    (case,) = (case for case in cases("attention", "core") if case.id == CASE)
    poked = np.array(case.call.inputs["query"])
    poked.flat[5] = value
    sent = json.loads(protocol.request(replace(case, call=case.call.changed(query=poked)), "float64", 3))
    result = {"shape": sent["inputs"]["query"]["shape"], "values": sent["inputs"]["query"]["values"][:36]}
    result["values"] += [sent["inputs"]["query"]["values"][5]] * (48 - len(result["values"]))
    line = json.dumps({"id": 3, "results": {"output": {**result, "shape": [2, 2, 3, 4]}}})
    jsonschema.validate(json.loads(line), protocol.schema("answer"))
    read = protocol.answer(line, case, "float64", 3).results["output"]
    assert read.flat[5].tobytes() == np.float64(value).tobytes()


def test_gradients_are_asked_for_with_their_cotangents() -> None:
    (case,) = (case for case in cases("attention", "core") if case.id == CASE)
    derived = replace(case)
    object.__setattr__(derived, "cotangents", {"output": np.ones((2, 2, 3, 4))})
    request = json.loads(protocol.request(derived, "float64", 1))
    assert request["cotangents"]["output"]["values"] == [1.0] * 48
    jsonschema.validate(request, protocol.schema("request"))


def test_intermediates_of_an_answer_are_compared() -> None:
    case = cases("FeedForward", "core")[0]
    name, tap = next(iter(case.taps.items()))
    results = {name: to_json(expected.values) for name, expected in case.expected.items()}
    results = {name: {**item, "dtype": "float64"} for name, item in results.items()}
    taps = {name: {**to_json(tap.values), "dtype": "float64"}}
    line = json.dumps({"id": 1, "results": results, "taps": taps})
    assert np.array_equal(protocol.answer(line, case, "float64", 1).taps[name], tap.values)
    taps[name]["shape"] = [1]
    with pytest.raises(SubjectError, match="has the shape"):
        protocol.answer(json.dumps({"id": 1, "results": results, "taps": taps}), case, "float64", 1)


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The example in C, with the compiler's warnings as errors."""
    if (compiler := shutil.which("cc") or shutil.which("gcc")) is None:
        pytest.skip("there is no C compiler")
    target = tmp_path_factory.mktemp("c") / "attention"
    options = ["-std=c99", "-O2", "-Wall", "-Wextra", "-Werror"]
    source = EXAMPLES / "c" / "attention.c"
    subprocess.run([compiler, *options, "-o", str(target), str(source), "-lm"], check=True, timeout=600)
    return [str(target)]


@pytest.fixture(scope="session")
def interpreted() -> list[str]:
    """The example in JavaScript."""
    if (node := shutil.which("node")) is None:
        pytest.skip("Node.js is not installed")
    return [node, str(EXAMPLES / "javascript" / "attention.mjs")]


@pytest.mark.parametrize("example", ["compiled", "interpreted"])
def test_the_examples_in_other_languages_conform(example: str, request: pytest.FixtureRequest) -> None:
    report = check_subject(program(request.getfixturevalue(example)), profiles=vectors.profiles("attention"))
    assert report.passed, str(report)
    reasons = {result.reason for result in report.results if result.verdict == "unsupported"}
    assert reasons == {"no sinks", "no dropout_mask"}
    verdicts = {clause.id: clause.verdict for clause in report.clauses}
    assert [name for name, verdict in verdicts.items() if verdict != "conforms"] == [
        "attention.sinks",
        "attention.dropout",
    ]


@pytest.mark.parametrize("example", ["compiled", "interpreted"])
def test_the_examples_do_not_pretend(example: str, request: pytest.FixtureRequest) -> None:
    operations = ["layer_norm", "additive_attention", "Block"]
    report = check_subject(program(request.getfixturevalue(example), operations), profiles=("core",))
    assert {result.verdict for result in report.results} == {"unsupported"}
    low = check_subject(program(request.getfixturevalue(example)), cases=CASE, dtypes=("float16", "bfloat16"))
    assert [result.reason for result in low.results] == ["no float16", "no bfloat16"]
