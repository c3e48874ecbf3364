"""Subjects in any language: a program that reads a request per line and writes an answer per line."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from attention_ref.conformance.case import Case
from attention_ref.conformance.errors import HangError, SubjectError, UsageError, reject
from attention_ref.conformance.outcome import Answer
from attention_ref.conformance.subjects import protocol
from attention_ref.conformance.subjects.array_files import ArrayFiles
from attention_ref.conformance.subjects.base_subject import BaseSubject
from attention_ref.conformance.subjects.last_lines import LastLines
from attention_ref.conformance.timeouts import TIMEOUT

EXCHANGES = ("json", "safetensors")
"""How arrays come to a program and from it."""

_LONGEST_LINE = 1 << 28
_LAST_LINES = 8
_TO_END = 1.0


class Program:
    """A running program. It is started at the first request, and restarted after a crash or a timeout."""

    def __init__(self, words: Sequence[str], timeout: float | None, files: ArrayFiles | None = None) -> None:
        if not words:
            raise UsageError("the command is empty")
        self.words = words
        self.timeout = timeout
        self.files = files
        self._number = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._errors: LastLines | None = None
        self._end: weakref.finalize[..., Program] | None = None

    def answer(self, case: Case, dtype: str) -> Answer:
        """Send a request for one call and return the answer.

        Raises:
            SubjectError: for a crash, a timeout, or a malformed answer.
            Unsupported: if the program says so.
            UsageError: if the program cannot be started.
        """
        process = self._running()
        self._number += 1
        line, is_late = self._exchanged(process, protocol.request(case, dtype, self._number, self.files))
        if is_late:
            raise HangError(f"it does not answer within {self.timeout:g} s", self._ended())
        if not line.endswith("\n"):
            raise SubjectError(_death(process, line), self._ended())
        try:
            return protocol.answer(line, case, dtype, self._number, self.files)
        except protocol.ProtocolError:
            self.close()
            raise

    def close(self) -> None:
        """End the program; the next request restarts it."""
        if self._end is not None:
            self._end()
        self._process = self._errors = self._end = None

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            try:
                self._process = subprocess.Popen(  # noqa: S603 - the command of the user
                    self.words,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    start_new_session=True,  # so that its children end with it
                )
            except (OSError, ValueError) as error:
                reason = getattr(error, "strerror", None) or error
                raise UsageError(f"{self.words[0]} cannot be started: {reason}") from error
            assert self._process.stderr is not None  # noqa: S101 - it is a pipe
            self._errors = LastLines(self._process.stderr)
            self._end = weakref.finalize(self, _end, self._process)
        return self._process

    def _exchanged(self, process: subprocess.Popen[bytes], request: str) -> tuple[str, bool]:
        """Write a request and read a line; return the line and whether the program was killed at the time limit."""
        is_late = threading.Event()

        def kill() -> None:
            is_late.set()
            _kill(process)

        timer = threading.Timer(self.timeout or threading.TIMEOUT_MAX, kill)
        timer.daemon = True
        timer.start()
        assert process.stdin is not None  # noqa: S101 - both are pipes
        assert process.stdout is not None  # noqa: S101
        try:
            with contextlib.suppress(OSError):  # the program may answer or die before reading everything
                process.stdin.write(request.encode() + b"\n")
                process.stdin.flush()
            line = process.stdout.readline(_LONGEST_LINE)
        finally:
            timer.cancel()
        return line.decode("utf-8", "backslashreplace"), is_late.is_set()

    def _ended(self) -> str:
        """End the program and return the last lines of its stderr."""
        assert self._errors is not None  # noqa: S101 - it is running
        if self._process is not None:
            _kill(self._process)
        kept = self._errors.lines(_TO_END)[-_LAST_LINES:]
        self.close()
        return "\n".join(["last lines of its stderr:", *kept]) if kept else ""


@dataclass(frozen=True)
class ProgramSubject(BaseSubject):
    """A program in any language that answers requests."""

    program: Program

    option: ClassVar[str] = "--exec"

    def answer(self, case: Case, dtype: str) -> Answer:
        """Send a request to the program; kill it at the time limit."""
        return self.program.answer(case, dtype)


def program(
    command: str | Sequence[str],
    operations: Sequence[str] = ("attention",),
    timeout: float | None = TIMEOUT,
    name: str | None = None,
    arrays: str = "json",
    folder: str | None = None,
) -> ProgramSubject:
    """Return a program as a subject; it answers requests as described in `protocol` until its stdin ends.

    Arguments:
        command: the program and its arguments; a string is split as a shell would, and no shell is run.
        operations: the operations to check.
        timeout: the time limit of an answer in seconds, including the start of the program; None: no limit.
        name: its name in reports; by default the command.
        arrays: how they are exchanged, one of `EXCHANGES`: in the lines, or in files of safetensors.
        folder: where these files are; None: in memory.
    """
    words = _words(command) if isinstance(command, str) else list(command)
    if arrays not in EXCHANGES:
        reject("exchange of arrays", arrays, EXCHANGES)
    asked = Program(words, timeout, ArrayFiles(folder) if arrays == "safetensors" else None)
    return ProgramSubject(name or shlex.join(words), arrays, operations, asked, timeout=timeout)


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError as error:
        raise UsageError(f"{command!r} is not a command: {error}") from error


def _death(process: subprocess.Popen[bytes], line: str) -> str:
    """Describe how a program ended whose stdout has ended."""
    if len(line) >= _LONGEST_LINE:
        return f"it writes a line of more than {_LONGEST_LINE} bytes"
    try:
        how = f"it {_ending(process.wait(_TO_END))} before it answers"
    except subprocess.TimeoutExpired:
        how = "it closes its output before it answers"
    return how + (f", in the middle of the line {protocol.quoted(line)}" if line else "")


def _ending(code: int) -> str:
    if code >= 0:
        return f"exits with code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"is killed by {name}" + (f" ({text})" if (text := signal.strsignal(-code)) else "")


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(OSError):  # it has already ended
        if sys.platform == "win32":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Close its stdin, wait a little, and kill it."""
    assert process.stdin is not None  # noqa: S101 - both are pipes
    assert process.stdout is not None  # noqa: S101
    with contextlib.suppress(OSError):
        process.stdin.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_TO_END)
    _kill(process)
    process.wait()
    process.stdout.close()
