"""A second process that writes the report of a check when a call does not return.

Native code may keep the whole interpreter from running, for ever: its process can then write nothing and not even end
itself. So another one watches. It is told of every call before it begins and of its result, and knows from the start
what the report says of each call that hangs:

    {"seconds": 65.0, "format": "text", "report": {...}}     a report in which every call hangs
    {}                                                       a call begins
    {"case": ..., "verdict": "passed", ...}                  its result, as in the report

When nothing comes for that many seconds after a call began, it writes the report and ends the process that it watches.
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
"""The signal that ends the process that is watched; its number is also the exit code, see `_exits_when_hung_up`."""
_PATIENCE = 10.0
_PAUSE = 0.05


class Watcher:
    """The process that watches, seen from the one that is watched. It writes to what is stdout where it is made.

    Arguments:
        seconds: how long a call may take.
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
        """End it; where it has begun to write a report, wait for it to end this process."""
        assert self._process.stdin is not None  # noqa: S101 - it is a pipe
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        self._process.wait()

    @contextlib.contextmanager
    def over(self, report: Report) -> Iterator[Callable[[Result | None], None]]:
        """Watch over calls.

        Arguments:
            report: what is written if every call hangs.

        Yields:
            What is to be called with None when a call begins, and with its result.
        """
        from attention_ref.conformance.reports.json import item

        self._send({**self._given, "report": report.to_dict()})
        with _exits_when_hung_up():
            yield lambda result: self._send({} if result is None else item(report, result))
            self.close()

    def _send(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None  # noqa: S101 - it is a pipe
        with contextlib.suppress(OSError):  # it was killed by somebody, and nobody watches
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()


@contextlib.contextmanager
def _exits_when_hung_up() -> Iterator[None]:
    """Let the signal 1 write a traceback of every thread and end this process with the exit code 1, also while native
    code keeps Python from running: the handler is C's `_exit`, which takes the number of the signal as the exit code.
    """
    if not hasattr(signal, "SIGHUP"):  # Windows ends a process with any exit code without its help
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
    """Watch the process that has started this one, as it says on stdin."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt of the keyboard is for the process that is watched
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
    """Write the report of the calls that have ended, the one that hangs, and those that are never made."""
    from attention_ref.commands.report_output import written
    from attention_ref.conformance import Report
    from attention_ref.conformance.reports.json import not_asked

    hanging = given["report"]["results"][len(ended) :]
    results = [*ended, *hanging[:1], *map(not_asked, hanging[1:])]
    report = Report.from_dict({**given["report"], "results": results})
    show(written(report, given["format"], given["output"], colour=given["colour"]))


def _end(process: int) -> None:
    """End the process that is watched: with the exit code of a failure, or at least at all."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, DIFFERS)
        until = time.monotonic() + _PATIENCE
        while os.getppid() == process and time.monotonic() < until:
            time.sleep(_PAUSE)
        if os.getppid() == process and hasattr(signal, "SIGKILL"):
            os.kill(process, signal.SIGKILL)


if __name__ == "__main__":
    main()
