"""Programs of any language before the judge: kernels in C at real sizes, and programs that end or hang."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from attention_ref.cli import main
from attention_ref.conformance import UsageError, check_subject, judge
from attention_ref.conformance.case import cases
from attention_ref.conformance.errors import SubjectError
from attention_ref.conformance.frameworks.interface import numpy_dtype
from attention_ref.conformance.judge.contents import encoded
from attention_ref.conformance.subjects import protocol
from attention_ref.conformance.subjects.array_files import ArrayFiles
from attention_ref.conformance.subjects.program import program
from attention_ref.spec.dtypes import DTYPES
from tests.wrong_kernels.compiled import compile_tiled, find_compiler

pytestmark = pytest.mark.bare
judged = partial(judge, small=True, most_failures=1, arrays="safetensors")

Compile = Callable[[int], str]


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Compile:
    """The kernel in C with one of its mistakes; 0 is the right one."""
    if find_compiler() is None:
        pytest.skip("there is no C compiler")
    folder = tmp_path_factory.mktemp("c")
    return lambda mistake: compile_tiled(mistake, folder)


@pytest.mark.long
def test_a_right_kernel_in_c_passes(compiled: Compile) -> None:
    judgement = judged(program=compiled(0), seed=1)
    assert judgement.passed, str(judgement)
    asked = {outcome.scenario for outcome in judgement.having("passed")}
    assert {scenario.keys for scenario in asked} >= {1, 7, 63, 64, 65, 127, 128, 129, 255, 256, 257}
    assert any(scenario.causal for scenario in asked)


@pytest.mark.parametrize(("mistake", "needed"), [(1, "plain"), (2, "plain"), (3, "causal"), (4, "plain")])
def test_a_wrong_kernel_in_c_is_rejected(mistake: int, needed: str, compiled: Compile) -> None:
    judgement = judged(program=compiled(mistake), seed=1)
    assert judgement.reasons == ("it returns wrong numbers",), str(judgement)
    assert judgement.smallest is not None
    assert judgement.smallest.scenario.id.split("/")[2] == needed


ANSWERING = """
import json, sys, os, signal, time
import numpy as np
for line in sys.stdin:
    request = json.loads(line)
    {act}
    inputs = {{name: np.array(item["values"]).reshape(item["shape"]) for name, item in request["inputs"].items()}}
    query, key, value = (inputs[name] for name in ("query", "key", "value"))
    scores = query @ key.swapaxes(-1, -2) / query.shape[-1] ** 0.5
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    if "cotangents" in request:
        g = np.array(request["cotangents"]["output"]["values"]).reshape(query.shape)
        scaled = weights * (g @ value.swapaxes(-1, -2) - (g * (weights @ value)).sum(-1, keepdims=True))
        scaled /= query.shape[-1] ** 0.5
        found = {{"query": scaled @ key, "key": scaled.swapaxes(-1, -2) @ query, "value": weights.swapaxes(-1, -2) @ g}}
    else:
        found = {{"output": weights @ value}}
    results = {{name: {{"shape": list(each.shape), "values": each.ravel().tolist()}} for name, each in found.items()}}
    print(json.dumps({{"id": request["id"], "results": results}}), flush=True)
"""
CASE = "float64/b1.h2.g2.q65.k65.d16.v16/plain/normal"


def _command(tmp_path: Path, act: str = "pass") -> str:
    path = tmp_path / "program.py"
    path.write_text(ANSWERING.format(act=act))
    return shlex.join([sys.executable, str(path)])


@pytest.mark.parametrize("case", [CASE, CASE.replace("plain", "gradients")])
def test_a_program_is_asked_in_json_unless_it_is_said_otherwise(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["judge", "--exec", _command(tmp_path), "--case", case, "--seed", "1"]) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("seed: 1   attention-ref judge --exec ")


@pytest.mark.parametrize(
    ("act", "reason"),
    [
        ("os._exit(0)", "exits with code 0 before it answers"),
        (
            "sys.stdout.write('{'); sys.stdout.flush(); os._exit(3)",
            "exits with code 3 .*in the middle",
        ),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "killed by SIGSEGV"),
        ("os.kill(os.getpid(), signal.SIGSTOP)", "does not return within 2 s"),
        ("time.sleep(3600)", "does not return within 2 s"),
        ("print('ready', flush=True)", "a line that is not JSON"),
        ("os.fork() or (os.setsid(), time.sleep(3600)); os._exit(1)", "exits with code 1|does not return within"),
    ],
)
def test_a_program_that_fails_gets_a_verdict_and_leaves_no_process(act: str, reason: str, tmp_path: Path) -> None:
    command = _command(tmp_path, act)
    judgement = judge(program=command, case=CASE, timeout=2)
    assert not judgement.passed
    assert re.search(reason, judgement.reasons[0]), str(judgement)
    assert not _running(command)


def _running(command: str) -> list[str]:
    """Return the processes with a command line."""
    wanted = shlex.split(command)
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode().split("\0")[:-1]
        except OSError:
            continue
        lines += [str(path)] if words == wanted else []
    return lines


def test_a_program_that_cannot_be_started_or_judged_so_is_an_error_of_use(capsys: pytest.CaptureFixture[str]) -> None:
    senseless = [
        ["--exec", "./no-such-program"],
        ["--exec", "true", "--arrays", "torch"],
        ["--exec", "true", "--dialect", "torch.sdpa"],
        ["--exec", "true", "numpy"],
        [],
    ]
    for arguments in senseless:
        assert main(["judge", *arguments]) == 2, arguments
        assert capsys.readouterr().err.startswith("attention-ref: ")
    with pytest.raises(UsageError, match="exchange"):
        program("true", arrays="numpy")


# --- Arrays in files -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_arrays_in_files_are_those_of_the_request(dtype: str) -> None:
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes")
    (case,) = (case for case in cases("attention", "padding") if case.id == "attention/padding/nan-keys")
    files = ArrayFiles()
    request = json.loads(protocol.request(case, dtype, 1, files))
    jsonschema.validate(request, protocol.schema("request"))
    assert "values" not in request["inputs"]["query"]
    sent = files.request.read_bytes()
    length = int.from_bytes(sent[:8], "little")
    header, data = json.loads(sent[8 : 8 + length]), sent[8 + length :]
    for name, values in case.call.inputs.items():
        start, end = header[name]["data_offsets"]
        expected = encoded(values, dtype) if values.dtype.kind == "f" else values
        if not np.isnan(values.astype(float)).any():
            assert data[start:end] == expected.tobytes(), name
        assert header[name]["shape"] == request["inputs"][name]["shape"]


def test_a_file_of_an_answer_is_read_strictly() -> None:
    from safetensors.numpy import save_file

    case = cases("attention", "core")[0]
    shape = case.expected["output"].values.shape
    files = ArrayFiles()

    def answer(item: np.ndarray | None, name: str = "output") -> np.ndarray:
        protocol.request(case, "float32", 1, files)
        if item is not None:
            save_file({name: item}, files.answer)
        line = json.dumps({"id": 1, "results": ["output"]})
        jsonschema.validate(json.loads(line), protocol.schema("answer"))
        return protocol.answer(line, case, "float32", 1, files).results["output"]

    right = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    assert np.array_equal(answer(right), right.astype(float))
    wrong = [(None, "cannot be read"), (right[..., :1].copy(), "shape"), (right.astype(np.float64), "dtype F64")]
    for item, reason in wrong:
        with pytest.raises(SubjectError, match=reason):
            answer(item)
    with pytest.raises(SubjectError, match="lacks output"):
        answer(right, "result")
    files.answer.write_bytes(b"\xff" * 64)
    with pytest.raises(SubjectError, match="cannot be read"):
        files.read({"output": (shape, "float32")})
    assert numpy_dtype("float32") == right.dtype


def test_a_kernel_in_c_is_checked_with_arrays_in_files(compiled: Compile) -> None:
    report = check_subject(program(compiled(0), arrays="safetensors"), profiles=["core"], dtypes=["float32"])
    verdicts = {result.case.id: result.verdict for result in report.results}
    assert verdicts["attention/core/plain"] == "passed"
