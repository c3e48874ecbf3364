"""Files that a command writes."""

from __future__ import annotations

from pathlib import Path


def save(path: str, text: str) -> None:
    """Write a text file.

    Raises:
        UsageError: when it cannot be written.
    """
    from attention_ref.conformance import UsageError

    try:
        Path(path).write_text(f"{text.rstrip()}\n", encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error
