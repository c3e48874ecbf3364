"""Functions that do not come back: each gets a verdict, and the others their turn."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import attention_ref
from attention_ref.conformance import check
from attention_ref.conformance.timeouts import Late, limited

CASE = "attention/core/plain"
ROOT = Path(attention_ref.__file__).parent.parent

pytestmark = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="there is no timer that interrupts")


def sleeps(*_: Any) -> Any:
    time.sleep(60)


def loops(*_: Any) -> Any:
    while True:
        pass


def catches(*_: Any) -> Any:
    while True:
        try:
            time.sleep(60)
        except Exception:  # noqa: BLE001
            continue


def tries_again(*_: Any) -> Any:
    try:
        time.sleep(60)
    except BaseException:  # noqa: BLE001
        time.sleep(60)


def waits_for_a_lock(*_: Any) -> Any:
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


@pytest.mark.parametrize("function", [sleeps, loops, catches, tries_again, waits_for_a_lock])
def test_a_function_that_hangs_fails(function: Callable[..., Any]) -> None:
    start = time.monotonic()
    before = signal.getsignal(signal.SIGALRM)
    report = check(function, cases=CASE, dtypes=("float64",), timeout=0.3)
    assert report.results[0].reason == "it does not return within 0.3 s"
    assert f" in {function.__name__}: " in report.results[0].where
    assert report.results[0].where in str(report)
    assert time.monotonic() - start < 10
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_what_follows_a_hang_is_checked() -> None:
    calls = []

    def hangs_once(query: Any, key: Any, value: Any) -> Any:
        calls.append(1)
        return loops(key) if len(calls) == 1 else np.repeat(value, query.shape[-2], axis=-2)

    report = check(hangs_once, cases="attention/core/single-key", timeout=0.3)
    assert [result.verdict for result in report.results] == ["failed", "passed"]


def test_a_function_that_hangs_again_and_again_is_left_alone() -> None:
    report = check(loops, profiles=("core",), dtypes=("float64",), timeout=0.1)
    reasons = [result.reason for result in report.results]
    assert len(reasons) > 5
    assert set(reasons[:3]) == {"it does not return within 0.1 s"}
    assert set(reasons[3:]) == {"not asked, because it hung before"}
    assert {result.verdict for result in report.results[3:]} == {"unsupported"}


class Stop(BaseException):
    """What neither `Exception` nor `SystemExit` is."""


@pytest.mark.parametrize("error", [Stop, GeneratorExit, SystemExit])
def test_whatever_is_raised_is_the_fault_of_the_function(error: type[BaseException]) -> None:
    def attention(*_: Any) -> Any:
        raise error

    (result,) = check(attention, cases=CASE, dtypes=("float64",)).results
    assert result.reason == f"it raises {error.__name__}: "
    assert "raise error" in result.where


def test_a_keyboard_interrupt_is_the_users() -> None:
    def attention(*_: Any) -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check(attention, cases=CASE)


def test_an_alarm_of_somebody_else_is_left_alone() -> None:
    rung: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda number, _: rung.append(number))
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        with limited(0.1):
            time.sleep(0.5)
        assert rung == [signal.SIGALRM]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_no_limit_is_no_limit_and_a_limit_is_one() -> None:
    with limited(None):
        time.sleep(0.2)
    with pytest.raises(Late), limited(0.1):
        time.sleep(5)


def test_another_thread_is_not_limited() -> None:
    ended = threading.Event()

    def work() -> None:
        with limited(0.05):
            time.sleep(0.2)
        ended.set()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(5)
    assert ended.is_set()


STUCK = """
import ctypes

mutex = ctypes.create_string_buffer(256)

def stuck(library):
    for _ in range(2):  # locking twice is a deadlock that no signal ends
        library.pthread_mutex_lock(mutex)

def native(query, key, value):
    print("noise")
    stuck(ctypes.CDLL(None))

def holding_the_lock(query, key, value):
    stuck(ctypes.PyDLL(None))
"""
MAIN = """
import sys
from attention_ref import cli
from attention_ref.conformance import timeouts
timeouts.GRACE = 0.5
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.fixture
def stuck(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Check a function that is stuck in native code, by the command."""
    (tmp_path / "mine.py").write_text(STUCK)

    def run(name: str, *more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", MAIN, "check", f"mine:{name}", "--timeout", "0.3", "--profile", "core", *more]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
        )

    return run


def test_native_code_that_hangs_is_reported_before_the_process_ends(stuck: Any) -> None:
    done = stuck("native")
    assert done.returncode == 1, done.stderr
    assert done.stdout.startswith("mine:native does not conform to specification")
    assert "it does not return within 0.3 s, nor does it let itself be interrupted" in done.stdout
    assert f"--case {CASE} --dtype float64" in done.stdout
    assert "not asked, because it hung before" in done.stdout
    assert "noise" in done.stderr


def test_a_native_hang_is_reported_in_json_too(stuck: Any) -> None:
    data = json.loads(stuck("native", "--json").stdout)
    assert data["passed"] is False
    assert [result["verdict"] for result in data["results"]][:2] == ["failed", "unsupported"]


def test_native_code_that_lets_nothing_run_is_shown_by_its_traceback(stuck: Any) -> None:
    done = stuck("holding_the_lock")
    assert done.returncode == 1
    assert "in holding_the_lock" in done.stderr
