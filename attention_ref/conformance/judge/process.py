"""The process of a subject, seen from outside: started, asked, and ended with everything that it has started."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, NamedTuple, NoReturn

import numpy as np

from attention_ref.conformance.dialects.dialect import Limits
from attention_ref.conformance.errors import HangError, SubjectError, Unsupported, UsageError
from attention_ref.conformance.judge import worker
from attention_ref.conformance.judge.source import Source
from attention_ref.conformance.judge.storage import Place, Storage
from attention_ref.conformance.judge.supervisor import end_strays, supervise
from attention_ref.conformance.subjects.last_lines import LastLines

_LONGEST_HEADER = 1 << 16
_CHUNK = 1 << 20
_MOST_DESCRIPTORS = 1 << 16
_LAST_LINES = 8
_TO_END, _TO_CLEAN, _PAUSE = 1.0, 10.0, 0.002
_ONE_AT_A_TIME = threading.Lock()
"""Filters of warnings, which a fork changes for a moment, are those of all threads."""
TO_START = 120.0
"""How many seconds a subject may take to be imported."""


class Answered(NamedTuple):
    """An answer: the results by name, and how many seconds passed."""

    results: dict[str, np.ndarray]
    seconds: float


class Process:
    """A subject in a process, a session and a process group of its own."""

    def __init__(self, source: Source, storage: Storage) -> None:
        request, self._requests = os.pipe()
        self._replies, reply = os.pipe()
        errors, error = os.pipe()
        self._number, self._memory = 0, storage.descriptor
        self._status: int | None = None
        shared = (request, reply, error, storage.descriptor)
        try:
            with _ONE_AT_A_TIME:
                self._pid = _spawned(source, *shared) if source.is_named else _forked(source, *shared)
        finally:
            for descriptor in (request, reply, error):
                os.close(descriptor)
        self._errors = LastLines(os.fdopen(errors, "rb"))
        self._rest = bytearray()
        try:
            offer = self._header(time.monotonic() + TO_START)
            if "usage" in offer:
                raise UsageError(str(offer["usage"]))
        except (SubjectError, UsageError):
            self.close()
            raise
        self.options, self.gradient_options = (_names(offer.get(each)) for each in ("options", "gradient_options"))
        self.limits = Limits(*offer.get("limits", ()))

    def ask(
        self,
        places: Mapping[str, tuple[Place, bool]],
        options: Mapping[str, Any],
        expected: Mapping[str, tuple[tuple[int, ...], str]],
        dtype: str,
        storage: str | None,
        timeout: float | None,
    ) -> Answered:
        """Ask for one call.

        Arguments:
            places: where every array lies, and whether it has the dtype of the call.
            options: the arguments that are no arrays.
            expected: the results' shapes and dtypes.
            dtype: of the call.
            storage: the name of memory that is used again; None for fresh one.
            timeout: seconds.

        Raises:
            HangError, SubjectError, Unsupported: as `BaseSubject.answer`; the process is ended after the first, and
                where it ended itself or broke the protocol.
            UsageError: where a program cannot be started.
        """
        self._number += 1
        arrays = {name: {**place.to_json(), "is_real": is_real} for name, (place, is_real) in places.items()}
        shapes = {name: shape for name, (shape, _) in expected.items()}
        request = {"id": self._number, "arrays": arrays, "options": options, "results": shapes}
        start = time.monotonic()
        deadline = start + timeout if timeout is not None else float("inf")
        try:
            with contextlib.suppress(OSError):  # it has ended, which the reply shows
                os.write(self._requests, json.dumps({**request, "dtype": dtype, "storage": storage}).encode() + b"\n")
            header = self._header(deadline)
            if "usage" in header:
                raise UsageError(str(header["usage"]))
            if "unsupported" in header:
                raise Unsupported(str(header["unsupported"]))
            if "error" in header:
                raise SubjectError(str(header["error"]), str(header.get("where", "")))
            results = self._results(header, expected, deadline)
        except HangError:
            self.close()
            raise HangError(f"it does not return within {timeout:g} s") from None
        if header.get("changed"):
            raise SubjectError(f"it changes its argument {', '.join(map(str, header['changed']))}")
        return Answered(results, time.monotonic() - start)

    @property
    def is_running(self) -> bool:
        """Whether it can be asked."""
        return self._status is None

    def close(self) -> None:
        """End the process and what it has started, at once."""
        for stop, seconds in ((signal.SIGTERM, _TO_CLEAN), (signal.SIGKILL, _TO_CLEAN)):
            if self._status is None:
                for number in (stop, signal.SIGCONT):  # a stopped process ends when it goes on
                    with contextlib.suppress(OSError):
                        os.kill(self._pid, number)
                self._wait(seconds)

    def _wait(self, seconds: float) -> None:
        """Wait for the end of the process, but not longer."""
        end = time.monotonic() + seconds
        while self._status is None and time.monotonic() < end:
            try:
                pid, status = os.waitpid(self._pid, os.WNOHANG)
                self._status = os.waitstatus_to_exitcode(status) if pid else None
            except ChildProcessError:  # somebody else has waited for it
                self._status = 0
            if self._status is None:
                time.sleep(_PAUSE)
        if self._status is not None:
            if self._status < 0:
                end_strays(self._memory)
            for descriptor in (self._requests, self._replies):
                os.close(descriptor)

    def _header(self, deadline: float) -> dict[str, Any]:
        while b"\n" not in self._rest:
            if len(self._rest) > _LONGEST_HEADER:
                self._broken("it writes to the descriptor that is for answers")
            self._more(deadline)
        line, _, self._rest = self._rest.partition(b"\n")
        try:
            header = json.loads(bytes(line))
        except (ValueError, RecursionError):
            header = None
        if not isinstance(header, dict):
            self._broken("it writes to the descriptor that is for answers")
        elif header.get("id") != self._number:
            self._broken("it answers twice, as two processes do after a fork")
        return header

    def _results(
        self, header: Mapping[str, Any], expected: Mapping[str, tuple[tuple[int, ...], str]], deadline: float
    ) -> dict[str, np.ndarray]:
        """Read the numbers, and only then compare what they are said to be with what they must be."""
        described = header.get("results")
        if not isinstance(described, list) or len(described) != len(expected):
            self._broken("its answer has no results")
        found, reason = {}, ""
        for item, (name, (shape, dtype)) in zip(described, expected.items(), strict=True):
            if item.get("shape") != list(shape):
                given = tuple(map(int, item.get("shape", ())))
                reason = reason or f"{name} has the shape {given} instead of {shape}"
                self.close()
                break
            numbers = np.frombuffer(self._bytes(8 * int(np.prod(shape, dtype=np.int64)), deadline), np.float64)
            found[name] = numbers.reshape(shape)
            if item.get("dtype") != dtype:
                reason = reason or f"{name} has the dtype {item.get('dtype')} instead of {dtype}"
        if reason:
            raise SubjectError(reason)
        return found

    def _bytes(self, count: int, deadline: float) -> bytes:
        while len(self._rest) < count:
            self._more(deadline)
        found, self._rest = bytes(self._rest[:count]), self._rest[count:]
        return found

    def _more(self, deadline: float) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._replies, selectors.EVENT_READ)
            timeout = None if deadline == float("inf") else max(0.0, deadline - time.monotonic())
            if not selector.select(timeout):
                raise HangError("it does not return")
        chunk = os.read(self._replies, _CHUNK)
        if not chunk:
            self._broken("")
        self._rest += chunk

    def _broken(self, reason: str) -> NoReturn:
        """End the process, and say what is wrong with its answer or how it ended."""
        if not reason:
            self._wait(_TO_END)
        reason = reason or self._ending()
        self.close()
        lines = self._errors.lines(_TO_END)[-_LAST_LINES:]
        raise SubjectError(reason, "\n".join(["its stderr ends:", *lines]) if lines else "")

    def _ending(self) -> str:
        status = self._status
        if status is None:
            return "it closes the descriptor that is for answers"
        if status >= 0:
            return f"it exits with code {status} before it answers"
        with contextlib.suppress(ValueError):
            return f"it is killed by {signal.Signals(-status).name} before it answers"
        return f"it is killed by signal {-status} before it answers"


def _names(options: Any) -> frozenset[str] | None:
    return None if options is None else frozenset(map(str, options))


def _spawned(source: Source, request: int, reply: int, error: int, memory: int) -> int:
    """Start a new Python that imports the subject."""
    settings = {"source": vars(source), "requests": request, "replies": reply, "memory": memory}
    path = os.pathsep.join(["", *filter(None, sys.path)])
    process = subprocess.Popen(  # noqa: S603 - it is what the user asked for
        [sys.executable, "-m", worker.__name__, json.dumps(settings)],
        stdin=subprocess.DEVNULL,
        stdout=error,
        stderr=error,
        pass_fds=(request, reply, memory),
        env={**os.environ, "PYTHONPATH": path},
        start_new_session=True,
    )
    process.returncode = 0  # `Process` waits for it
    return process.pid


def _forked(source: Source, request: int, reply: int, error: int, memory: int) -> int:
    """Start a copy of this process, which has the callable already, without the files that this one has open."""
    sys.stdout.flush()
    sys.stderr.flush()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python and JAX warn of a fork beside threads: the copy uses none of them
        pid = os.fork()
    if pid:
        return pid
    try:
        _redirect(error)
        needed = sorted((2, request, reply, memory, _MOST_DESCRIPTORS))
        for low, high in pairwise(needed):
            os.closerange(low + 1, high)
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(1)  # the threads of its pool are not copied
        supervise(lambda: worker.serve(source, request, reply, memory), (request, reply, memory))
    finally:
        os._exit(1)


def _redirect(error: int) -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, descriptor in ((nothing, 0), (error, 1), (error, 2)):
        os.dup2(source, descriptor)
    sys.stdout, sys.stderr = (open(n, "w", closefd=False) for n in (1, 2))  # noqa: SIM115
