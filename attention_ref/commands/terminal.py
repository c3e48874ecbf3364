"""What a command shows while it works, and how its report alone comes to stdout."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

from attention_ref.commands.command import show

_WIDTH = 79


def colours() -> bool:
    """Say whether a terminal that shows colours reads stdout."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def counter(name: Callable[[Any], str]) -> Callable[[int, int, Any], None] | None:
    """Show a counter on stderr that is wiped at the end; nothing where no terminal reads it.

    Arguments:
        name: what to call a result.
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
    """Send everything that is printed to stderr, by other languages too, and give a way to write to stdout."""
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
