"""A second process that writes the report of a check when a call does not return.

Native code that hangs can hold the interpreter's lock forever, so that its process can neither write a report nor exit.
A second process therefore watches it. It receives, one JSON object per line:

    {"seconds": 65.0, "format": "text", "report": {...}}     the report if every call hangs
    {}                                                       a call begins
    {"case": ..., "verdict": "passed", ...}                  its result, as in the report

If nothing arrives within `seconds` after a call began, it writes the report and ends the process that it watches.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attention_ref.commands.command import DIFFERS, show

if TYPE_CHECKING:
    from attention_ref.conformance import Report, Result

_HANGUP = 1
"""The signal that ends the watched process; its number is also the exit code, see `_exits_when_hung_up`."""
_PATIENCE = 10.0
_PAUSE = 0.05


class Watcher:
    """The handle on the watching process. It inherits the stdout of the moment when it is made.

    Arguments:
        seconds: the time limit of a call.
        format, output, colour: how the report is written, as in `report_output.written`.
    """

    def __init__(self, seconds: float, *, format: str, output: str | None, colour: bool) -> None:
        self._given = {"seconds": seconds, "format": format, "output": output, "colour": colour}
        root = str(Path(__file__).parents[2])
        self._process = subprocess.Popen(  # noqa: S603 - it is this program
            [sys.executable, "-P", "-m", __name__],
            stdin=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))},
        )

    def close(self) -> None:
        """End the watcher; if it has begun to write a report, wait until it ends this process."""
        assert self._process.stdin is not None  # noqa: S101 - it is a pipe
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        self._process.wait()

    @contextlib.contextmanager
    def over(self, report: Report) -> Iterator[Callable[[Result | None], None]]:
        """Watch calls.

        Arguments:
            report: the report to write if every call hangs.

        Yields:
            A function to call with None when a call begins, and with the result when it ends.
        """
        from attention_ref.conformance.reports.json import item

        self._send({**self._given, "report": report.to_dict()})
        with _exits_when_hung_up():
            yield lambda result: self._send({} if result is None else item(report, result))
            self.close()

    def _send(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None  # noqa: S101 - it is a pipe
        with contextlib.suppress(OSError):  # the watcher was killed; continue without it
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()


@contextlib.contextmanager
def _exits_when_hung_up() -> Iterator[None]:
    """Make signal 1 write a traceback of every thread and exit with code 1, even while native code blocks Python.

    The handler is C's `_exit`, which receives the number of the signal and uses it as the exit code.
    """
    if not hasattr(signal, "SIGHUP"):  # on Windows os.kill ends a process with a given exit code
        yield
        return
    c: Any = ctypes.CDLL(None)
    c.signal.restype, c.signal.argtypes = ctypes.c_void_p, (ctypes.c_int, ctypes.c_void_p)
    before = c.signal(_HANGUP, ctypes.cast(c._exit, ctypes.c_void_p))
    if sys.__stderr__ is not None:
        faulthandler.register(_HANGUP, file=sys.__stderr__, chain=True)
    try:
        yield
    finally:
        faulthandler.unregister(_HANGUP)
        c.signal(_HANGUP, before)


def main() -> None:
    """Watch the parent process according to the messages on stdin."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C is meant for the watched process
    watched = os.getppid()
    lines: queue.Queue[bytes] = queue.Queue()
    threading.Thread(target=_read, args=(lines,), daemon=True).start()
    first = lines.get()
    if not first:
        return
    given = json.loads(first)
    ended: list[Any] = []
    while line := lines.get():
        while line == b"{}\n":
            try:
                line = lines.get(timeout=given["seconds"])
            except queue.Empty:
                try:
                    _write(given, ended)
                finally:
                    _end(watched)
                return
        if not line:
            return
        ended.append(json.loads(line))


def _read(lines: queue.Queue[bytes]) -> None:
    for line in sys.stdin.buffer:
        lines.put(line)
    lines.put(b"")


def _write(given: dict[str, Any], ended: list[Any]) -> None:
    """Write the report: the calls that have ended, the one that hangs, and the remaining ones as not run."""
    from attention_ref.commands.report_output import written
    from attention_ref.conformance import Report
    from attention_ref.conformance.reports.json import not_asked

    hanging = given["report"]["results"][len(ended) :]
    results = [*ended, *hanging[:1], *map(not_asked, hanging[1:])]
    report = Report.from_dict({**given["report"], "results": results})
    show(written(report, given["format"], given["output"], colour=given["colour"]))


def _end(process: int) -> None:
    """End the watched process with the exit code of a failure; kill it if it does not end."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, DIFFERS)
        until = time.monotonic() + _PATIENCE
        while os.getppid() == process and time.monotonic() < until:
            time.sleep(_PAUSE)
        if os.getppid() == process and hasattr(signal, "SIGKILL"):
            os.kill(process, signal.SIGKILL)


if __name__ == "__main__":
    main()
