"""The versions of the formats of files that people keep."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def is_version_1(document: Mapping[str, Any], what: str, current: int) -> bool:
    """Return whether a document is of version 1 of its format, which called the field `format`.

    Arguments:
        document: the data of a file.
        what: what the file contains, in the plural, for the message.
        current: the current version.

    Raises:
        ValueError: if it is neither of version 1 nor of the current version.
    """
    if document.get("format_version") == current:
        return False
    if "format_version" not in document and document.get("format") == 1:
        return True
    version = document.get("format_version", document.get("format"))
    raise ValueError(f"format version {version!r} of {what} is not supported; expected {current} or 1")
