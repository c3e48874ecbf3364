"""Terminal output: colours, a progress counter, and stdout reserved for the report."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

from attention_ref.commands.command import show

_WIDTH = 79


def colours() -> bool:
    """Return whether stdout is a terminal with colours."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def counter(name: Callable[[Any], str]) -> Callable[[int, int, Any], None] | None:
    """Return a function that shows progress on stderr and erases it at the end; None if stderr is not a terminal.

    Arguments:
        name: returns the name of a result.
    """
    if not sys.stderr.isatty():
        return None

    def show(done: int, total: int, result: Any) -> None:
        text = f"\r{done}/{total} {name(result)}"[:_WIDTH]
        wiped = "\r" + " " * _WIDTH + "\r" if done == total else ""
        print(f"{text:{_WIDTH}}", end=wiped, file=sys.stderr, flush=True)

    return show


@contextlib.contextmanager
def stdout_for_reports() -> Iterator[Callable[[str], object]]:
    """Redirect the file descriptor of stdout, also for native code, to stderr; yield a writer to stdout."""
    sys.stdout.flush()
    stdout, kept = sys.stdout, os.dup(1)
    texts: list[str] = []
    os.dup2(2, 1)
    try:
        yield texts.append
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)
    show("\n".join(texts), stdout)
