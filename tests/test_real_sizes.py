"""The table of peers at real sizes: a verdict for each dtype, on outputs and gradients."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from attention_ref.cli import main
from attention_ref.commands.real_sizes import Row, markdown
from attention_ref.conformance import judge
from tests.wrong_kernels import backward, right
from tests.wrong_kernels.planted import BACKWARD_MISTAKES, MISTAKES

CASE = "float32/b1.h2.g1.q65.k70.d16.v16/plain/normal"
DTYPES = ["float32", "bfloat16"]


def test_a_cell_has_the_verdict_and_what_was_not_asked_is_no_verdict() -> None:
    good = Row("good", json.loads(judge(right.base_two, case=CASE, seed=1).to_json()))
    ratio = good.record["calls"][0]["error_ratio"]
    assert good.cell("float32") == f"✓ 1, {ratio:.2f}, {ratio:.2f} / –"
    assert good.cell("bfloat16") == "– / –"
    wrong = MISTAKES["the partial last tile is dropped"].planted()
    bad = Row("bad", json.loads(judge(wrong, case=CASE, seed=1).to_json()))
    assert bad.cell("float32") == f"✗ it returns wrong numbers in `{CASE}` / –"
    rows = [good, bad, Row("absent", trouble="not installed")]
    table = markdown(rows, DTYPES, "attention-ref peers", {}).splitlines()
    assert table[-3:] == [
        f"| `good` | {good.cell('float32')} | – / – |  |",
        f"| `bad` | {bad.cell('float32')} | – / – |  |",
        "| `absent` | – / – | – / – | not installed |",
    ]


def test_a_cell_has_the_outputs_and_then_the_gradients() -> None:
    case = CASE.replace("plain", "gradients")
    right_gradients = judge(right.in_float64, gradient=backward.without_weights, case=case, seed=1)
    row = Row("gradients", json.loads(right_gradients.to_json()))
    ratio = row.record["calls"][0]["error_ratio"]
    assert row.cell("float32") == f"– / ✓ 1, {ratio:.2f}, {ratio:.2f}"
    mistake = BACKWARD_MISTAKES["the gradient of keys lacks the scale"]
    wrong = judge(backward.FORWARD[mistake.kernel], gradient=mistake.planted(), case=case, seed=1)
    assert Row("wrong", json.loads(wrong.to_json())).cell("float32") == f"– / ✗ it returns wrong numbers in `{case}`"


def test_peers_are_judged_at_real_sizes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page, record = tmp_path / "table.md", tmp_path / "table.json"
    name = "tests.wrong_kernels.cheats:returns_float64"
    options = ["--time-limit", "20", "--markdown", str(page), "--json", str(record)]
    assert main(["peers", name, "--real-sizes", *options]) == 0
    assert f"| `{name}` | ✗ output has the dtype float64 instead of float32 in `float32/" in capsys.readouterr().out
    assert (
        f"    attention-ref peers {name} --real-sizes --dtype float32 --time-limit 20" in page.read_text().splitlines()
    )
    (peer,) = json.loads(record.read_text())["peers"]
    assert peer["judgement"]["passed"] is False


@pytest.mark.parametrize("option", [["--operation", "Block"], ["--html", "x.html"], ["--profile", "core"]])
def test_what_the_table_lacks_is_an_error_of_use(
    option: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["peers", "numpy", "--real-sizes", *option]) == 2


def test_what_numpy_cannot_differentiate_is_judged_without_gradients(tmp_path: Path) -> None:
    record = tmp_path / "table.json"
    name = "tests.wrong_kernels.cheats:returns_float64"
    assert main(["peers", name, "--real-sizes", "--time-limit", "20", "--json", str(record)]) == 0
    (peer,) = json.loads(record.read_text())["peers"]
    assert not peer["trouble"]
    assert peer["judgement"]["gradients"] is False
