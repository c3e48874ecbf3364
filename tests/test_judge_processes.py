"""Hostile kernels before the judge: whatever they do to processes, there is a verdict and nothing of them remains."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attention_ref.conformance import judge
from tests.wrong_kernels import right

pytestmark = pytest.mark.bare
judged = partial(judge, small=True, most_failures=1)
CASE = "float32/b1.h1.g1.q65.k65.d16.v16/plain/normal"


def _hangs() -> None:
    while True:
        pass


def _floods() -> None:
    while True:
        os.write(1, b"x" * 4096)


def _writes_everywhere() -> None:
    for descriptor in range(3, 40):
        try:
            os.write(descriptor, b'{"id": 1, "results": []}\n' * 4)
        except OSError:
            continue


def _answers_twice() -> None:
    os.getpid = partial(int, os.getpid())  # the copy believes that it is the subject
    os.fork()


def _exits_from_a_thread() -> None:
    threading.Thread(target=lambda: (time.sleep(0.05), os._exit(0))).start()
    time.sleep(600)


def _leaves_a_thread() -> None:
    threading.Thread(target=lambda: (time.sleep(0.3), os._exit(0)), daemon=True).start()


def _kills_its_parent() -> None:
    os.kill(os.getppid(), 9)
    time.sleep(600)


HOSTILE: dict[str, tuple[Callable[[], object], str]] = {
    "hangs": (_hangs, "does not return within"),
    "floods": (_floods, "does not return within"),
    "exits": (lambda: os._exit(0), "exits with code 0"),
    "exits from a thread": (_exits_from_a_thread, "exits with code 0"),
    "exits after its answer": (_leaves_a_thread, "exits with code 0"),
    "stops itself": (lambda: os.kill(os.getpid(), signal.SIGSTOP), "does not return within"),
    "raises SystemExit": (lambda: exit(3), "raises SystemExit"),  # noqa: PLR1722
    "is interrupted": (lambda: os.kill(os.getpid(), 2), "raises KeyboardInterrupt"),
    "crashes": (lambda: os.kill(os.getpid(), 11), "killed by SIGSEGV"),
    "aborts its group": (lambda: os.killpg(0, 9), "killed by SIGKILL"),
    "kills its parent": (_kills_its_parent, "killed by SIGKILL|does not return within"),
    "writes everywhere": (_writes_everywhere, "descriptor that is for answers|answers twice|no results"),
    "answers twice": (_answers_twice, "answers twice|descriptor that is for answers|wrong numbers"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_kernel_gets_a_verdict_and_leaves_no_process(name: str, tmp_path: Path) -> None:
    act, reason = HOSTILE[name]

    def kernel(query: np.ndarray, key: np.ndarray, value: np.ndarray) -> np.ndarray:
        _note(tmp_path)
        if os.fork() == 0:
            os.setsid()
            _note(tmp_path)
            if os.fork() == 0:
                _note(tmp_path)
                time.sleep(3600)
            os._exit(0)
        act()
        return right.online(query, key, value)

    judgement = judged(kernel, timeout=2 if "does not return" in reason else 600, seed=8)
    assert not judgement.passed
    assert re.search(reason, judgement.reasons[0]), str(judgement)
    assert [pid for pid in _noted(tmp_path) if _is_alive(pid)] == []


def test_a_kernel_that_forks_and_computes_passes_and_leaves_no_process(tmp_path: Path) -> None:
    def kernel(query: np.ndarray, key: np.ndarray, value: np.ndarray) -> np.ndarray:
        if os.fork() == 0:
            os.setsid()
            _note(tmp_path)
            time.sleep(3600)
        return right.online(query, key, value)

    judgement = judge(kernel, case=CASE, seed=9)
    assert judgement.passed, str(judgement)
    assert [pid for pid in _noted(tmp_path) if _is_alive(pid)] == []


HARMLESS: dict[str, Callable[[], object]] = {
    "stops its parent": lambda: os.kill(os.getppid(), signal.SIGSTOP),
    "ends a thread": lambda: sys.exit(0),
}


@pytest.mark.parametrize("act", HARMLESS.values(), ids=HARMLESS)
def test_what_a_thread_does_to_itself_and_a_stop_of_the_parent_change_no_verdict(
    act: Callable[[], object], tmp_path: Path
) -> None:
    def kernel(query: np.ndarray, key: np.ndarray, value: np.ndarray) -> np.ndarray:
        _note(tmp_path)
        thread = threading.Thread(target=act)
        thread.start()
        thread.join()
        return right.online(query, key, value)

    judgement = judge(kernel, case=CASE, seed=9)
    assert judgement.passed, str(judgement)
    assert [pid for pid in _noted(tmp_path) if _is_alive(pid)] == []


def _note(folder: Path) -> None:
    (folder / str(os.getpid())).touch()


def _noted(folder: Path) -> list[int]:
    return [int(path.name) for path in folder.iterdir()]


def _is_alive(pid: int) -> bool:
    """Return whether a process runs; one that has ended may wait for its parent to ask how."""
    for _ in range(30_000):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return False
        if state in "ZX":
            return False
        time.sleep(0.02)
    return True


def test_the_end_of_a_flood_on_stderr_is_told() -> None:
    def kernel(*_: Any) -> Any:
        for _ in range(5000):
            os.write(2, b"noise\n" * 100)
        os.write(2, b"the last line\n")
        os._exit(1)

    failing = judged(kernel).failing
    assert failing is not None
    assert failing.where.endswith("the last line")
