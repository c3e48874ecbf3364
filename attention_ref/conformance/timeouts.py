"""Time limits: interrupt a call that does not return, if possible."""

from __future__ import annotations

import contextlib
import signal
import threading
import traceback
from collections.abc import Iterator
from types import FrameType

TIMEOUT = 60.0
"""The default time limit of a call in seconds."""

GRACE = 5.0
"""The seconds that a call may take to end after an interrupt."""

_AGAIN = 1.0


class Late(BaseException):
    """A call has exceeded its time limit; `frame` is the line that was running."""

    def __init__(self, frame: traceback.FrameSummary | None) -> None:
        super().__init__()
        self.frame = frame


@contextlib.contextmanager
def limited(seconds: float | None) -> Iterator[None]:
    """Raise `Late` inside the block after `seconds`, and again every second until the block ends.

    It uses SIGALRM, which only the main thread receives and Windows lacks. Elsewhere, without `seconds`, and while that
    timer runs already, the block has no limit. Native code is interrupted when it returns to Python.
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
        finally:  # the timer may have fired in the line above
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
