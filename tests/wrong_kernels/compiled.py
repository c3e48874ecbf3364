"""The kernel in C, compiled."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

_ROOT = Path(__file__).parent.parent.parent
_KERNEL = Path(__file__).parent / "c" / "tiled.c"
_FLAGS = ("-std=c99", "-O2", "-Wall", "-Wextra", "-Werror", "-Wno-unused-function")

MISTAKES = (1, 2, 3, 4)
"""The mistakes that `tiled.c` describes."""


def find_compiler() -> str | None:
    """Return the path of a C compiler, or None."""
    return shutil.which("cc") or shutil.which("gcc")


def compile_tiled(mistake: int, folder: Path) -> str:
    """Compile the kernel with one of its mistakes, 0 for none, and return the path of the program."""
    target = folder / f"tiled{mistake}"
    source = ["-I", str(_ROOT / "docs" / "kit" / "c"), "-o", str(target), str(_KERNEL), "-lm"]
    command = [str(find_compiler()), *_FLAGS, f"-DMISTAKE={mistake}", *source]
    subprocess.run(command, check=True, timeout=60)
    return str(target)
