"""Run checks in child processes, a few at a time, so that a crash or a hang does not affect the others."""

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
    """The end of a check: its report as data and its answers, or the cause of failure and the last lines of stderr."""

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
    report: Callable[[int, Ending, float], None],
) -> list[Ending]:
    """Run `attention-ref check` once for each entry of `checks`.

    Arguments:
        checks: the command-line arguments and the additional environment variables of each.
        asks: whether to run the questions of `attention-ref ask` too.
        jobs: the number of processes at a time.
        time_limit: the seconds after which a check is stopped.
        report: called with the index, the ending and the duration in seconds when a check ends.
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
                        report(index, ending, child.seconds)
                        running.pop(index).stop()
                time.sleep(_PAUSE)
        finally:
            for child in running.values():
                child.stop()
    return [endings[index] for index in range(len(checks))]


class _Child:
    """A child process that checks. A thread reads its stderr, so that it never blocks, and stores the last lines."""

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
        """Seconds since the start."""
        return time.monotonic() - self._started

    def ending(self, time_limit: float) -> Ending | None:
        """Return its ending, or None while it runs within the time limit."""
        code = self._process.poll()
        if code is None and self.seconds < time_limit:
            return None
        try:
            return Ending(json.loads(self._report.read_text(encoding="utf-8")), answers=dict(self._answered()))
        except (OSError, ValueError):
            trouble = f"stopped after {time_limit:g} s" if code is None else _cause(code)
            return Ending(None, trouble, self._last_lines())

    def _answered(self) -> Iterator[tuple[str, str]]:
        """Return the complete answers; the process may have ended in the middle of a line."""
        with contextlib.suppress(OSError, ValueError):
            for line in self._answers.read_text(encoding="utf-8").splitlines():
                question, answer = json.loads(line)
                yield question, answer

    def stop(self) -> None:
        """Kill the process, if it still runs, and its children."""
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
