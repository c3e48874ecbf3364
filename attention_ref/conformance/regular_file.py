"""Read text files that the user names."""

from __future__ import annotations

import errno
import stat
from pathlib import Path


def read_text(path: str | Path) -> str:
    """Return the text of a regular file.

    Raises:
        OSError: if it cannot be read, and for a pipe or a device, which might never end.
        UnicodeDecodeError: if it is not UTF-8.
    """
    if not stat.S_ISREG(Path(path).stat().st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    return Path(path).read_text(encoding="utf-8")
