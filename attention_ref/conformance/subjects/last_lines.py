"""The last lines that a process writes, however much it writes."""

from __future__ import annotations

import threading
from typing import IO

_KEPT = 1 << 13
_CHUNK = 1 << 16


class LastLines:
    """Reads a pipe in a thread of its own, so that its writer never waits, and keeps its end alone.

    Arguments:
        pipe: is closed where it ends.
    """

    def __init__(self, pipe: IO[bytes]) -> None:
        self._end = bytearray()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._read, args=(pipe,), daemon=True)
        self._thread.start()

    def lines(self, timeout: float) -> list[str]:
        """Return the lines that are not blank, once the writer has ended or so many seconds later.

        A process that the writer started may keep the pipe open.
        """
        self._thread.join(timeout)
        with self._lock:
            text = self._end.decode("utf-8", "backslashreplace")
        return [line.rstrip() for line in text.splitlines() if line.strip()]

    def _read(self, pipe: IO[bytes]) -> None:
        with pipe:
            while chunk := pipe.read1(_CHUNK):  # type: ignore[attr-defined] # the pipe of a process is buffered
                with self._lock:
                    self._end += chunk
                    del self._end[:-_KEPT]
