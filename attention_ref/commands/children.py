"""Checks in processes of their own, a few at a time: one that crashes or hangs takes nothing else with it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_PAUSE = 0.05
_LINES, _WIDTH = 12, 200
_TO_END = 1.0
_USAGE = 2


@dataclass(frozen=True)
class Ending:
    """How a check ended: its report as data and its answers, or what went wrong and the last lines that it wrote."""

    report: Mapping[str, Any] | None
    trouble: str = ""
    lines: tuple[str, ...] = ()
    answers: Mapping[str, str] = field(default_factory=dict)


def check_all(
    checks: Sequence[tuple[Sequence[str], Mapping[str, str]]],
    *,
    asks: bool,
    jobs: int,
    time_limit: float,
    tell: Callable[[int, Ending, float], None],
) -> list[Ending]:
    """Run `attention-ref check` several times.

    Arguments:
        checks: for each its arguments and what is to be added to the environment.
        asks: whether they ask what is computed, too.
        jobs: how many run at once.
        time_limit: after so many seconds one is stopped.
        tell: called with the index, the ending and the seconds of each that has ended.
    """
    waiting = list(enumerate(checks))
    endings: dict[int, Ending] = {}
    running: dict[int, _Child] = {}
    with tempfile.TemporaryDirectory() as folder:
        try:
            while waiting or running:
                while waiting and len(running) < jobs:
                    index, (arguments, environment) = waiting.pop(0)
                    running[index] = _Child(arguments, environment, Path(folder, str(index)), asks)
                for index, child in list(running.items()):
                    if (ending := child.ending(time_limit)) is not None:
                        endings[index] = ending
                        tell(index, ending, child.seconds)
                        running.pop(index).stop()
                time.sleep(_PAUSE)
        finally:
            for child in running.values():
                child.stop()
    return [endings[index] for index in range(len(checks))]


class _Child:
    """A process that checks; the end of what it prints is kept, and nothing makes it wait."""

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str], output: Path, asks: bool) -> None:
        from attention_ref.conformance.subjects.last_lines import LastLines

        self._report, self._answers = (output.with_suffix(suffix) for suffix in (".json", ".jsonl"))
        command = [sys.executable, "-m", "attention_ref", "check", *arguments]
        command += ["--format", "json", "--output", str(self._report)]
        command += ["--answers", str(self._answers)] if asks else []
        self._started = time.monotonic()
        self._process = subprocess.Popen(  # noqa: S603 - it is this program
            command,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._process.stderr is not None  # noqa: S101 - it is a pipe
        self._log = LastLines(self._process.stderr)

    @property
    def seconds(self) -> float:
        """How long it has run."""
        return time.monotonic() - self._started

    def ending(self, time_limit: float) -> Ending | None:
        """Give how it ended; None while it runs. One that has run for too long is stopped."""
        code = self._process.poll()
        if code is None and self.seconds < time_limit:
            return None
        try:
            return Ending(json.loads(self._report.read_text(encoding="utf-8")), answers=dict(self._answered()))
        except (OSError, ValueError):
            trouble = f"stopped after {time_limit:g} s" if code is None else _cause(code)
            return Ending(None, trouble, self._last_lines())

    def _answered(self) -> Iterator[tuple[str, str]]:
        """Give the answers; it may have ended while it wrote one."""
        with contextlib.suppress(OSError, ValueError):
            for line in self._answers.read_text(encoding="utf-8").splitlines():
                question, answer = json.loads(line)
                yield question, answer

    def stop(self) -> None:
        """Kill it, where it still runs, with all that it has started."""
        if self._process.returncode is None and sys.platform == "win32":
            self._process.kill()
        elif self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _last_lines(self) -> tuple[str, ...]:
        return tuple(line[:_WIDTH] for line in self._log.lines(_TO_END)[-_LINES:])


def _cause(code: int) -> str:
    if code == _USAGE:
        return "cannot be checked"
    if code < 0:
        return f"crashed: {signal.Signals(-code).name}"
    return f"ended with exit code {code} and without a report"
