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


SOON = (signal.ITIMER_REAL, 0.05, 0.05)
"""The timer that a hanging function sets when it is entered, so that it fires inside on any machine."""


def sleeps(*_: Any) -> Any:
    signal.setitimer(*SOON)
    time.sleep(600)


def loops(*_: Any) -> Any:
    signal.setitimer(*SOON)
    while True:
        pass


def catches(*_: Any) -> Any:
    signal.setitimer(*SOON)
    while True:
        try:
            time.sleep(600)
        except Exception:  # noqa: BLE001
            continue


def tries_again(*_: Any) -> Any:
    signal.setitimer(*SOON)
    try:
        time.sleep(600)
    except BaseException:  # noqa: BLE001
        time.sleep(600)


def waits_for_a_lock(*_: Any) -> Any:
    lock = threading.Lock()
    lock.acquire()
    signal.setitimer(*SOON)
    lock.acquire()


@pytest.mark.parametrize("function", [sleeps, loops, catches, tries_again, waits_for_a_lock])
def test_a_function_that_hangs_fails(function: Callable[..., Any]) -> None:
    before = signal.getsignal(signal.SIGALRM)
    report = check(function, cases=CASE, dtypes=("float64",))
    assert report.results[0].reason == "it does not return within 60 s"
    assert f" in {function.__name__}: " in report.results[0].where
    assert report.results[0].where in str(report)
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_the_time_is_that_of_the_check() -> None:
    def waits(*_: Any) -> Any:
        time.sleep(600)

    report = check(waits, cases=CASE, dtypes=("float64",), timeout=0.3)
    assert report.results[0].reason == "it does not return within 0.3 s"


def test_what_follows_a_hang_is_checked() -> None:
    calls = []

    def hangs_once(query: Any, key: Any, value: Any) -> Any:
        calls.append(1)
        return loops(key) if len(calls) == 1 else np.repeat(value, query.shape[-2], axis=-2)

    report = check(hangs_once, cases="attention/core/single-key")
    assert [result.verdict for result in report.results] == ["failed", "passed"]


def test_a_function_that_hangs_again_and_again_is_left_alone() -> None:
    report = check(loops, profiles=("core",), dtypes=("float64",))
    reasons = [result.reason for result in report.results]
    assert len(reasons) > 5
    assert set(reasons[:3]) == {"it does not return within 60 s"}
    assert set(reasons[3:]) == {"not run: earlier calls timed out"}
    assert {result.verdict for result in report.results[3:]} == {"unsupported"}


class Stop(BaseException):
    """An exception that is neither `Exception` nor `SystemExit`."""


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
    signal.setitimer(signal.ITIMER_REAL, 3600)
    try:
        with limited(0.01):
            time.sleep(0.1)
            signal.raise_signal(signal.SIGALRM)
        assert rung == [signal.SIGALRM]
        assert signal.getitimer(signal.ITIMER_REAL)[0] > 0
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_no_limit_is_no_limit_and_a_limit_is_one() -> None:
    with limited(None):
        time.sleep(0.2)
    with pytest.raises(Late), limited(0.1):
        time.sleep(600)


def test_another_thread_is_not_limited() -> None:
    ended = threading.Event()

    def work() -> None:
        with limited(0.05):
            time.sleep(0.2)
        ended.set()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert ended.is_set()


STUCK = """
import ctypes

mutex = ctypes.create_string_buffer(256)

def stuck(library):
    begin()  # only now does the watcher count the time, however slow the machine is
    for _ in range(2):  # locking twice is a deadlock that no signal ends
        library.pthread_mutex_lock(mutex)

def native(query, key, value):
    print("noise")
    stuck(ctypes.CDLL(None))

def holding_the_lock(query, key, value):
    stuck(ctypes.PyDLL(None))

def without_its_folder(query, key, value):
    import os
    os.rmdir("reports")
    holding_the_lock(query, key, value)

def late(query, key, value):
    if query.shape[-2] == 1:
        holding_the_lock(query, key, value)
    return value
"""
MAIN = """
import sys
import mine
from attention_ref import cli
from attention_ref.commands.watcher import Watcher
from attention_ref.conformance import timeouts

def send(watcher, message, now=Watcher._send):
    if message:
        return now(watcher, message)
    mine.begin = lambda: now(watcher, message)

Watcher._send = send
timeouts.GRACE = -59.5  # the watcher waits for half a second, and not for more than a minute
sys.exit(cli.main(sys.argv[1:]))
"""
REASON = "it does not return within 60 s, and it cannot be interrupted"


@pytest.fixture
def stuck(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Check a function that is stuck in native code, by the command."""
    (tmp_path / "mine.py").write_text(STUCK)

    def run(name: str, *more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", MAIN, "check", f"mine:{name}", "--profile", "core", *more]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    return run


@pytest.mark.parametrize("name", ["native", "holding_the_lock"])
def test_native_code_that_hangs_is_reported_before_the_process_ends(name: str, stuck: Any) -> None:
    done = stuck(name)
    assert done.returncode == 1, done.stderr
    assert done.stdout.startswith(f"mine:{name} does not conform to specification")
    assert REASON in done.stdout
    assert f"--case {CASE} --dtype float64" in done.stdout
    assert "not run: earlier calls timed out" in done.stdout
    assert f"in {name}\n" in done.stderr
    assert ("noise" in done.stderr) == (name == "native")


@pytest.mark.parametrize("name", ["native", "holding_the_lock"])
def test_a_native_hang_is_reported_in_json_too(name: str, stuck: Any, tmp_path: Path) -> None:
    data = json.loads(stuck(name, "--json").stdout)
    assert data["passed"] is False
    assert [result["verdict"] for result in data["results"]][:2] == ["failed", "unsupported"]
    done = stuck(name, "--format", "json", "--output", "report.json")
    assert done.stdout.startswith(f"mine:{name} does not conform to specification")
    assert json.loads((tmp_path / "report.json").read_text()) == data


def test_what_came_before_a_native_hang_is_reported(stuck: Any) -> None:
    results = json.loads(stuck("late", "--json").stdout)["results"]
    reasons = [result["reason"] for result in results]
    number = reasons.index(REASON)
    assert number > 0
    assert {result["verdict"] for result in results[:number]} == {"failed"}
    assert {result["verdict"] for result in results[number + 1 :]} == {"unsupported"}


def test_a_report_that_can_no_longer_be_written_ends_the_process_too(stuck: Any, tmp_path: Path) -> None:
    (tmp_path / "reports").mkdir()
    done = stuck("without_its_folder", "--output", "reports/report")
    assert done.returncode == 1
    assert "reports/report cannot be written: No such file or directory" in done.stderr


@pytest.mark.parametrize("line", ["", "begin()"])
def test_who_watches_ends_with_the_process_that_is_watched(line: str, stuck: Any, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(f"import os\n\ndef gone(query, key, value):\n    {line}\n    os._exit(7)\n")
    done = stuck("gone")  # which returns when nobody holds the pipes of its output any more
    assert (done.returncode, done.stdout) == (7, "")
