"""Folders of results: what was computed anywhere is checked by its files alone."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attention_ref import cli
from attention_ref.commands.command import DIFFERS
from attention_ref.conformance import Report, UsageError, check_subject
from attention_ref.conformance.case import Case, cases
from attention_ref.conformance.frameworks.interface import numpy_dtype
from attention_ref.conformance.subjects.result_folder import folder
from attention_ref.vectors import array_forms

CASE = "attention/core/plain"
DTYPES = ("float64", "float32", "float16", "bfloat16")


def truth(case: Case, dtype: str) -> dict[str, np.ndarray]:
    """The expected values of a case, rounded to a dtype; the log-sum-exp to the one that is computed in."""
    low = dtype in ("float16", "bfloat16")
    return {
        name: expected.values.astype("float32" if low and name == "log_sum_exp" else numpy_dtype(dtype))
        for name, expected in case.expected.items()
    }


def save_npz(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    np.savez(path.with_name(f"{path.name}.npz"), **arrays)


def save_safetensors(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    numpy = pytest.importorskip("safetensors.numpy")
    numpy.save_file(dict(arrays), path.with_name(f"{path.name}.safetensors"), {"made by": "a test"})


def save_json(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    results = {
        name: {**array_forms.to_json(array.astype(np.float64)), "dtype": array.dtype.name}
        for name, array in arrays.items()
    }
    path.with_name(f"{path.name}.json").write_text(json.dumps({"results": results}))


Save = Callable[[Path, Mapping[str, np.ndarray]], None]
SAVES = {"npz": save_npz, "safetensors": save_safetensors, "json": save_json}


def place(path: Path, case_id: str, dtype: str) -> Path:
    file = path / f"{case_id}.{dtype}"
    file.parent.mkdir(parents=True, exist_ok=True)
    return file


def case_of(case_id: str = CASE) -> Case:
    operation, profile, _ = case_id.split("/")
    return next(case for case in cases(operation, profile) if case.id == case_id)


@pytest.mark.parametrize("save", SAVES.values(), ids=SAVES)
def test_right_results_conform_in_every_dtype_and_format(save: Save, tmp_path: Path) -> None:
    pytest.importorskip("ml_dtypes")
    for case in (*cases("attention", "lse")[:6], *cases("attention", "weights")[:6], *cases("layer_norm", "core")[:4]):
        for dtype in case.dtypes:
            save(place(tmp_path, case.id, dtype), truth(case, dtype))
    report = check_subject(folder(tmp_path), dtypes=DTYPES)
    assert report.passed, str(report)
    assert {result.case.operation for result in report.results} == {"attention", "layer_norm"}
    ran = {(result.case.id, result.dtype) for result in report.results if result.verdict == "passed"}
    assert len(ran) == len([*tmp_path.rglob("*.*")])
    assert {dtype for _, dtype in ran} == set(DTYPES)
    assert f"no file in {tmp_path}" in {result.reason for result in report.results}


def test_a_case_without_a_file_is_unsupported(tmp_path: Path) -> None:
    save_npz(place(tmp_path, CASE, "float32"), truth(case_of(), "float32"))
    report = check_subject(folder(tmp_path), cases="attention/core/*")
    assert [result.verdict for result in report.results][:2] == ["unsupported", "passed"]
    assert "   1 case in float64" not in str(report)
    assert f"no file in {tmp_path}" in str(report)


def one(path: Path, arrays: Mapping[str, np.ndarray], save: Save, dtype: str = "float64") -> Report:
    save(place(path, CASE, dtype), arrays)
    return check_subject(folder(path), cases=CASE, dtypes=(dtype,))


@pytest.mark.parametrize("save", SAVES.values(), ids=SAVES)
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda right: {"output": right + 1}, "output[1, 1, 2, 2]: expected"),
        (lambda right: {"output": np.where(right > 0, np.nan, right)}, "got nan"),
        (lambda right: {"output": right[:1].copy()}, "output has the shape (1, 2, 3, 4) instead of (2, 2, 3, 4)"),
        (lambda right: {"output": right.astype(np.float32)}, "output has the dtype float32 instead of float64"),
        (lambda right: {"result": right}, "lacks output"),
    ],
    ids=["numbers", "NaN", "shape", "dtype", "name"],
)
def test_wrong_results_fail_and_the_report_says_why(save: Save, change: Any, words: str, tmp_path: Path) -> None:
    report = one(tmp_path, change(truth(case_of(), "float64")["output"]), save)
    assert [result.verdict for result in report.results] == ["failed"]
    assert words.partition("[")[2].partition(":")[2] in str(report)
    assert words.partition("[")[0] in str(report)


def test_names_that_are_there_are_told_where_one_is_missing(tmp_path: Path) -> None:
    reason = one(tmp_path, {"result": np.zeros(3)}, save_npz).results[0].reason
    assert reason.endswith("plain.float64.npz lacks output; it has result")


@pytest.mark.parametrize(
    ("name", "content"),
    [("npz", b"no archive"), ("safetensors", b"\xff" * 20), ("safetensors", b""), ("json", b"{"), ("json", b"[]")],
)
def test_a_file_that_cannot_be_read_fails(name: str, content: bytes, tmp_path: Path) -> None:
    place(tmp_path, CASE, f"float64.{name}").write_bytes(content)
    (result,) = check_subject(folder(tmp_path), cases=CASE, dtypes=("float64",)).results
    assert result.verdict == "failed"
    assert f"plain.float64.{name}" in result.reason


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.parametrize("name", ["npz", "safetensors", "json"])
def test_a_pipe_fails_without_waiting_for_its_writer(name: str, tmp_path: Path) -> None:
    os.mkfifo(place(tmp_path, CASE, f"float64.{name}"))
    (result,) = check_subject(folder(tmp_path), cases=CASE, dtypes=("float64",)).results
    assert result.verdict == "failed"
    assert result.reason.endswith(f"plain.float64.{name} is not a file")


def test_taps_that_are_a_number_fail(tmp_path: Path) -> None:
    case = cases("FeedForward", "core")[0]
    results = {
        name: {**array_forms.to_json(expected.values), "dtype": "float64"} for name, expected in case.expected.items()
    }
    place(tmp_path, case.id, "float64.json").write_text(json.dumps({"results": results, "taps": 3}))
    (result,) = check_subject(folder(tmp_path), cases=case.id, dtypes=("float64",)).results
    assert (result.verdict, result.reason) == ("failed", "its taps are 3, not an object")


def test_pickles_are_not_opened(tmp_path: Path) -> None:
    report = one(tmp_path, {"output": np.array([{}], object)}, save_npz)
    assert "Object arrays cannot be loaded" in report.results[0].reason


def test_an_answer_may_say_unsupported(tmp_path: Path) -> None:
    place(tmp_path, CASE, "float64.json").write_text('{"unsupported": "no attention on Tuesdays"}')
    (result,) = check_subject(folder(tmp_path), cases=CASE, dtypes=("float64",)).results
    assert (result.verdict, result.reason) == ("unsupported", "no attention on Tuesdays")


def test_intermediates_are_compared_where_they_are_there(tmp_path: Path) -> None:
    case = cases("FeedForward", "core")[0]
    name, tap = next(iter(case.taps.items()))
    for values, verdict in ((tap.values, "passed"), (tap.values + 1, "failed")):
        save_npz(place(tmp_path, case.id, "float64"), {**truth(case, "float64"), f"tap.{name}": values})
        (result,) = check_subject(folder(tmp_path), cases=case.id, dtypes=("float64",)).results
        assert result.verdict == verdict
    assert result.mismatch
    assert (result.mismatch.array, result.mismatch.is_tap) == (name, True)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ([], "holds no results"),
        (["notes.txt"], "holds no results"),
        (
            ["attention/core/plane.float64.npz"],
            "plane.float64.npz is unexpected: .* did you mean",
        ),
        (["attention/core/plain.npz"], r"plain.npz is unexpected"),
        (["attention/core/plain.float32.npz", "attention/core/plain.float32.json"], "are results of one case"),
        (["a.json", "b.json"], "it is one of 2 such files"),
    ],
)
def test_a_folder_that_makes_no_sense_is_an_error_of_use(files: list[str], words: str, tmp_path: Path) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(UsageError, match=words):
        folder(tmp_path)


def test_the_command_takes_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_npz(place(tmp_path, CASE, "float64"), {"output": truth(case_of(), "float64")["output"] + 1})
    words = ["check", "--outputs", str(tmp_path)]
    assert cli.main(words) == DIFFERS
    line = f"attention-ref check --outputs {tmp_path} --case {CASE} --dtype float64"
    assert line in capsys.readouterr().out
    assert cli.main([*words, "--profile", "causal"]) == DIFFERS  # nothing ran
    assert "nothing ran" in capsys.readouterr().out
