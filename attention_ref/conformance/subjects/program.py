"""Subjects in any language: a program that reads one request from a line and writes one answer to a line."""

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
from attention_ref.conformance.errors import HangError, SubjectError, UsageError
from attention_ref.conformance.outcome import Answer
from attention_ref.conformance.subjects import protocol
from attention_ref.conformance.subjects.base_subject import BaseSubject
from attention_ref.conformance.subjects.last_lines import LastLines
from attention_ref.conformance.timeouts import TIMEOUT

_LONGEST_LINE = 1 << 28
_LAST_LINES = 8
_TO_END = 1.0


class Program:
    """A running program. It is started when it is first asked, and again after a crash or a hang."""

    def __init__(self, words: Sequence[str], timeout: float | None) -> None:
        if not words:
            raise UsageError("there is no program to run in an empty command")
        self.words = words
        self.timeout = timeout
        self._number = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._errors: LastLines | None = None
        self._end: weakref.finalize[..., Program] | None = None

    def answer(self, case: Case, dtype: str) -> Answer:
        """Ask for one call.

        Raises:
            SubjectError: for a crash, a hang, and an answer that is none or is wrong in form.
            Unsupported: where the program says so.
            UsageError: when the program cannot be started.
        """
        process = self._running()
        self._number += 1
        line, is_late = self._exchanged(process, protocol.request(case, dtype, self._number))
        if is_late:
            raise HangError(f"it does not answer within {self.timeout:g} s", self._ended())
        if not line.endswith("\n"):
            raise SubjectError(_death(process, line), self._ended())
        try:
            return protocol.answer(line, case, dtype, self._number)
        except protocol.ProtocolError:
            self.close()
            raise

    def close(self) -> None:
        """End the program. It is started again when it is asked again."""
        if self._end is not None:
            self._end()
        self._process = self._errors = self._end = None

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            try:
                self._process = subprocess.Popen(  # noqa: S603 - it is what the user asked for
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
        """Write a request and read a line, and say whether the program was killed because it took too long."""
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
            with contextlib.suppress(OSError):  # it may have answered, or died, before it has read everything
                process.stdin.write(request.encode() + b"\n")
                process.stdin.flush()
            line = process.stdout.readline(_LONGEST_LINE)
        finally:
            timer.cancel()
        return line.decode("utf-8", "backslashreplace"), is_late.is_set()

    def _ended(self) -> str:
        """End the program and give the last lines of its stderr."""
        assert self._errors is not None  # noqa: S101 - it is running
        if self._process is not None:
            _kill(self._process)
        kept = self._errors.lines(_TO_END)[-_LAST_LINES:]
        self.close()
        return "\n".join(["its stderr ends:", *kept]) if kept else ""


@dataclass(frozen=True)
class ProgramSubject(BaseSubject):
    """A program in any language that answers requests."""

    program: Program

    option: ClassVar[str] = "--exec"

    def answer(self, case: Case, dtype: str) -> Answer:
        """Ask the program, which is ended when it takes too long."""
        return self.program.answer(case, dtype)


def program(
    command: str | Sequence[str],
    operations: Sequence[str] = ("attention",),
    timeout: float | None = TIMEOUT,
    name: str | None = None,
) -> ProgramSubject:
    """Return a program as a subject: it is asked as `protocol` says, line after line until its input ends.

    Arguments:
        command: the program and its arguments; a string is split as a shell would, and no shell is run.
        operations: what it is asked for.
        timeout: how many seconds an answer may take, with the start of the program; None: as long as it takes.
        name: what the report calls it; by default the command.
    """
    words = _words(command) if isinstance(command, str) else list(command)
    return ProgramSubject(name or shlex.join(words), "json", operations, Program(words, timeout), timeout=timeout)


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError as error:
        raise UsageError(f"{command!r} is not a command: {error}") from error


def _death(process: subprocess.Popen[bytes], line: str) -> str:
    """Say how a program ended whose output has."""
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
    with contextlib.suppress(OSError):  # it has ended
        if sys.platform == "win32":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End its input, wait a little, and kill it."""
    assert process.stdin is not None  # noqa: S101 - both are pipes
    assert process.stdout is not None  # noqa: S101
    with contextlib.suppress(OSError):
        process.stdin.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_TO_END)
    _kill(process)
    process.wait()
    process.stdout.close()
