"""Time limits: a call that does not return is ended where it can be, and told of where it cannot."""

from __future__ import annotations

import contextlib
import faulthandler
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from types import FrameType

TIMEOUT = 60.0
"""How many seconds a call may take unless it is told otherwise."""

GRACE = 5.0
"""How many seconds more a call has to end after it was told to."""

_AGAIN = 1.0


class Late(BaseException):
    """A call has taken too long; `frame` is where it was."""

    def __init__(self, frame: traceback.FrameSummary | None) -> None:
        super().__init__()
        self.frame = frame


@contextlib.contextmanager
def limited(seconds: float | None) -> Iterator[None]:
    """Raise `Late` inside the block after so many seconds, again every second until it gives up.

    It needs the signal of the system's timer, which only the main thread gets and Windows lacks; elsewhere, without
    `seconds`, and where somebody else waits for that signal already, the block takes as long as it takes. Native code
    is interrupted when it returns to Python.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if seconds is None or not is_main or not hasattr(signal, "setitimer") or signal.getitimer(signal.ITIMER_REAL)[0]:
        yield
        return

    def ring(_: int, frame: FrameType | None) -> None:
        stack = traceback.extract_stack(frame)
        raise Late(stack[-1] if stack else None)

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds, _AGAIN)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def watched(seconds: float | None, tell: Callable[[], object] | None) -> Iterator[None]:
    """Call `tell` in a thread of its own when the block has not ended `GRACE` seconds after its time.

    Native code that keeps every Python thread from running is reported with its traceback, twice as late, and ends the
    process with exit code 1.
    """
    if seconds is None or tell is None:
        yield
        return
    timer = threading.Timer(seconds + GRACE, tell)
    timer.daemon = True
    timer.start()
    if sys.__stderr__ is not None:
        faulthandler.dump_traceback_later(seconds + 2 * GRACE, exit=True, file=sys.__stderr__)
    try:
        yield
    finally:
        timer.cancel()
        faulthandler.cancel_dump_traceback_later()
