"""`attention-ref bench`: what it times computes the same, and its figures are what they are called."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from attention_ref import bench, cli, oracle, plot
from attention_ref.bench import tables
from attention_ref.bench.attention_workloads import WINDOW
from attention_ref.bench.memory import STATUS, peak_beyond
from attention_ref.commands import command
from attention_ref.conformance.budget import budget, compare
from attention_ref.spec.errors import SpecificationError

MACHINE = bench.Machine("a processor", 2, 1, products=1e9, bandwidth=1e9)
OPTIONS = {
    "full": {},
    "causal": {"causal": True},
    "window": {"causal": True, "window": (WINDOW, None)},
    "decode": {},
}


def waiting(name: str, seconds: float, *, is_fused: bool = False) -> bench.Contestant:
    """A contestant that keeps the processor busy for some time."""

    def call() -> None:
        end = time.process_time() + seconds
        while time.process_time() < end:
            pass

    return bench.Contestant(name, lambda: call, is_fused=is_fused)


@pytest.mark.parametrize("kind", OPTIONS)
def test_all_contestants_compute_the_same(kind: str) -> None:
    length = 300  # longer than the window
    queries = 1 if kind == "decode" else length
    generator = np.random.default_rng(0)
    sizes = {"batch": 2, "heads": 4, "size": 16}
    arrays = [generator.normal(size=(2, 4, rows, 16)).astype(np.float32) for rows in (queries, length, length)]
    truth = oracle.attention(*(array.astype(np.float64) for array in arrays), **OPTIONS[kind])
    contestants = bench.attention(kind, length, **sizes).contestants
    compared = 0
    for each in contestants:
        if any(find_spec(package) is None for package in each.requires):
            continue
        result = np.asarray(each.prepare()(), np.float64)
        assert compare(result, truth.output.values, budget(truth.output.rounding, "float32")).error_ratio.max() <= 1, (
            each.name
        )
        compared += 1
    assert compared >= 3


def test_all_layers_compute_the_same() -> None:
    pytest.importorskip("torch")
    results = {
        each.name: np.asarray(each.prepare()(), np.float64)
        for each in bench.multi_head(30, batch=2, model=32, heads=4).contestants
        if all(find_spec(package) for package in each.requires)
    }
    truth = results["torch.nn"]
    for name, result in results.items():
        np.testing.assert_allclose(result, truth, rtol=0, atol=1e-6, err_msg=name)
    assert np.std(truth) > 0.01


def test_the_ratio_is_that_of_processor_time() -> None:
    workload = bench.Workload("waiting", 1, "", (waiting("slow", 0.02), waiting("quick", 0.005, is_fused=True)), 1e6)
    slow, quick = bench.run(workload, rounds=5, machine=MACHINE)
    assert slow.seconds >= 0.02
    assert slow.ratio > 2  # 4, but for what the clock and a busy machine add to both
    assert quick.ratio == 1
    assert quick.lowest <= quick.seconds <= quick.highest
    assert quick.share_of_limit == pytest.approx(1e6 / 1e9 / quick.seconds)


def test_one_that_cannot_run_says_why() -> None:
    def broken() -> None:
        raise ValueError("no such kernel")

    absent = bench.Contestant("absent", broken, requires=("no_such_package",))
    contestants = (absent, bench.Contestant("broken", broken), waiting("quick", 0.001))
    first, second, third = bench.run(bench.Workload("waiting", 1, "", contestants), rounds=2)
    assert first.trouble == "needs no_such_package"
    assert second.trouble == "ValueError: no such kernel"
    assert third.seconds > 0
    assert "no such kernel" in tables.text([first, second, third], MACHINE, 2)
    assert "seconds" not in first.to_dict()


def test_time_that_grows_with_the_square_has_the_exponent_2() -> None:
    found = [bench.Measurement("op", n, "", "name", seconds=3e-9 * n**2) for n in (64, 128, 1024)]
    assert bench.scaling_exponents(found) == {("op", "name"): pytest.approx(2)}
    assert bench.scaling_exponents(found[:1]) == {}


@pytest.mark.skipif(not STATUS.exists(), reason="the peak of a process is read from /proc, which only Linux has")
def test_the_peak_counts_what_a_call_holds_for_a_moment() -> None:
    size = 50 * 2**20
    assert (
        0.9 * size < (peak_beyond(lambda: np.ones(size, np.uint8).sum()) or 0) < 2 * size
    )  # the system counts in steps


@pytest.mark.parametrize("make", [bench.attention, bench.model])
def test_a_kind_that_there_is_not_is_refused(make) -> None:
    with pytest.raises(SpecificationError, match="kind must be one of"):
        make("fastest", 4)


def test_the_command_writes_every_format(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.setenv(name, "1")
    data, page = tmp_path / "bench.json", tmp_path / "bench.html"
    arguments = ["bench", "--sizes", "8,16", "--rounds", "2", "--backends", "numpy,textbook numpy"]
    arguments += ["--batch", "3", "--heads", "2", "--head-size", "4"]
    assert cli.main([*arguments, "--json", str(data), "--html", str(page)]) == command.CONFORMS
    printed = capsys.readouterr().out.splitlines()
    assert "is fastest" in printed[0]
    found = json.loads(data.read_text())
    assert found["machine"]["threads"] == 1
    assert [each["contestant"] for each in found["measurements"]] == ["numpy", "textbook numpy"] * 4
    assert all(
        each["sizes"].startswith("batch 3, heads 2,") and "head size 4," in each["sizes"]
        for each in found["measurements"]
    )
    assert all(math.isfinite(each["seconds"]) for each in found["measurements"])
    assert "textbook numpy" in page.read_text()


FIRST_IMPORT = """
import os, sys

class Recorder:
    def find_spec(self, name, path=None, target=None):
        if name == "numpy":
            print(os.environ.get("OMP_NUM_THREADS"), file=sys.stderr)

sys.meta_path.insert(0, Recorder())
from attention_ref import cli
cli.main(["bench", "--op", "full", "--sizes", "4", "--rounds", "1", "--backends", "numpy", "--threads", "1"])
"""


def test_threads_are_limited_before_numpy_is_imported() -> None:
    environment = {name: value for name, value in os.environ.items() if name not in command.THREADS}
    arguments = [sys.executable, "-c", FIRST_IMPORT]
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[0] == "1"


def test_the_limits_of_threads_end_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    arguments = ["bench", "--op", "full", "--sizes", "4", "--rounds", "1", "--backends", "numpy"]
    assert cli.main(arguments) == command.CONFORMS
    assert "OMP_NUM_THREADS" not in os.environ
    assert before == (os.sched_getaffinity(0) if before else None)


def test_a_plot_has_a_line_for_every_contestant() -> None:
    pytest.importorskip("matplotlib")
    found = [bench.Measurement("op", n, "", name, seconds=1e-3 * n) for n in (8, 64) for name in ("one", "other")]
    found.append(bench.Measurement("op", 8, "", "absent", trouble="needs something"))
    (axes,) = plot.times_by_length(found).axes
    assert {line.get_label(): list(line.get_ydata()) for line in axes.lines} == {"one": [8, 64], "other": [8, 64]}


@pytest.mark.parametrize(("path", "words"), [("no/where.png", "cannot be written"), ("times.xyz", "cannot be drawn")])
def test_a_plot_that_cannot_be_drawn_is_refused_before_anything_is_measured(
    path: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["bench", "--plot", path]) == command.USAGE
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line


WITHOUT_SENSE = (
    "--sizes 0",
    "--sizes x",
    "--rounds 0",
    "--batch 0",
    "--heads 0",
    "--head-size 0",
    "--backends nmpy",
    "--json no/where",
)


@pytest.mark.parametrize("arguments", WITHOUT_SENSE)
def test_what_makes_no_sense_exits_with_2(arguments: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", *arguments.split()]) == command.USAGE
    assert "Traceback" not in capsys.readouterr().err
