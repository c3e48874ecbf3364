"""Time limits: a call that does not return is interrupted where that is possible."""

from __future__ import annotations

import contextlib
import signal
import threading
import traceback
from collections.abc import Iterator
from types import FrameType

TIMEOUT = 60.0
"""How many seconds a call may take unless it is told otherwise."""

GRACE = 5.0
"""How many seconds more a call has to end after it was interrupted."""

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
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds, _AGAIN)
        yield
    finally:
        try:
            signal.setitimer(signal.ITIMER_REAL, 0)
        finally:  # it may have rung in the line above
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
