"""The common parts of all commands: program name, exit codes, parsers, output."""

from __future__ import annotations

import argparse
import errno
import io
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TextIO

from attention_ref.backends import DTYPES
from attention_ref.commands import COMMANDS

PROGRAM = "attention-ref"
CONFORMS, DIFFERS, USAGE, INTERRUPTED = 0, 1, 2, 130
"""The exit codes: success, and in `check` a subject that conforms; a subject that does not; a usage error."""

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS")
"""The variables that limit the threads of a framework, which reads them when it is imported."""

Run = Callable[[argparse.Namespace], int]


def command(commands: Any, name: str, run: Run | None, text: str = "") -> argparse.ArgumentParser:
    """Add a command to a parser's commands, described by a text; by default that of `COMMANDS`."""
    text = text or COMMANDS[name]
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    if run is not None:
        parser.set_defaults(run=run)
    return parser


def takes_json(parser: argparse.ArgumentParser) -> None:
    """Add the option `--json`."""
    parser.add_argument("--json", action="store_true", help="write JSON")


def dtypes(given: Sequence[str] | None) -> tuple[str, ...]:
    """Return the dtypes given by `--dtype`, with `all` expanded; by default float64 and float32."""
    from attention_ref.spec.dtypes import COMPUTED

    named = given or COMPUTED
    return DTYPES if "all" in named else tuple(dict.fromkeys(named))


def show(text: str, file: TextIO | None = None) -> None:
    """Print and flush, to stdout by default; stop silently when the reader, such as `head`, has closed the pipe."""
    file = file or sys.stdout
    try:
        print(_printable(text, file), file=file, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), file.fileno())
    except OSError as error:
        from attention_ref.conformance import UsageError

        os.dup2(os.open(os.devnull, os.O_WRONLY), file.fileno())
        raise UsageError(f"{file.name} cannot be written: {error.strerror}") from error


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


def check_writable(*paths: str | None) -> None:
    """Refuse files that cannot be written, before anything runs, without changing their contents; None is skipped.

    Raises:
        UsageError: when a file cannot be opened for writing.
    """
    from attention_ref.conformance import UsageError

    for path in map(Path, filter(None, paths)):
        exists = os.path.lexists(path)
        if exists and not (path.is_file() or path.is_dir()):
            continue  # a pipe: to open one and close it again would end it
        try:
            path.open("a").close()
            if not exists:
                path.unlink()
        except OSError as error:
            raise UsageError(f"{path} cannot be written: {error.strerror}") from error


def check_folder(path: str) -> None:
    """Refuse a folder in which no file can be written, before anything runs; it need not exist.

    Raises:
        UsageError: if it is not a folder, or cannot be made or written to.
    """
    from attention_ref.conformance import UsageError

    folder = next(each for each in (Path(path), *Path(path).absolute().parents) if os.path.lexists(each))
    if not folder.is_dir():
        raise UsageError(f"{path} cannot be written: {os.strerror(errno.ENOTDIR)}")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"{path} cannot be written: {os.strerror(errno.EACCES)}")


def check_figure(path: str | None) -> None:
    """Refuse a figure that cannot be drawn and written, before anything runs.

    Raises:
        UsageError: as in `save_figure`.
    """
    from attention_ref.conformance import UsageError

    if not path:
        return
    check_writable(path)
    try:
        from attention_ref import plot

        plot.times_by_length([]).savefig(io.BytesIO(), format=Path(path).suffix[1:] or None)  # an empty one
    except (ModuleNotFoundError, ValueError) as error:
        raise UsageError(f"{path} cannot be drawn: {error}") from error


def save_figure(path: str, draw: Callable[[], Any]) -> None:
    """Draw a figure and write it, in the format that the name of the file ends in.

    Raises:
        UsageError: when matplotlib is not installed or lacks the format, or the file cannot be written.
    """
    from attention_ref.conformance import UsageError

    try:
        draw().savefig(path)
    except (ModuleNotFoundError, OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be drawn: {error}") from error


def _printable(text: str, file: TextIO) -> str:
    """Escape characters that the encoding of a file lacks, such as lone surrogates in the message of a subject."""
    encoding = file.encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)
