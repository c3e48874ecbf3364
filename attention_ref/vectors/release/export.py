"""Writing the vectors to a folder, and telling a folder that holds them."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from attention_ref.vectors.release.export_files import INDEX, MANIFEST, TITLE, ExportError, choose, contents


def export(folder: Path, operations: Sequence[str] | None = None, profiles: Sequence[str] | None = None) -> list[str]:
    """Write vectors, with everything that is needed to understand them, to a folder.

    Arguments:
        folder: is made where it is not there. An earlier export in it is replaced.
        operations: whose vectors; all when None.
        profiles: which groups of cases of each operation that has them; all when None.

    Returns:
        The paths of the files, relative to the folder.

    Raises:
        ExportError: for an operation or a profile that does not exist, a folder that holds anything else, links among
            them, and what cannot be written.
    """
    files = contents(choose(operations, profiles))
    try:
        _replace(folder, files)
    except OSError as error:
        raise ExportError(f"{error.filename or folder} cannot be written: {error.strerror}") from error
    return sorted(files)


def _replace(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files in the place of an earlier export."""
    earlier = _earlier(folder)
    for path in sorted(earlier - set(files)):
        (folder / path).unlink()
        _remove_empty(folder, (folder / path).parent)
    for path in sorted(files, key=lambda name: (name not in (INDEX, MANIFEST), name)):  # first what tells an export
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        _write(folder / path, files[path])


def _write(path: Path, data: bytes) -> None:
    """Write a new file and give it its name: what had that name, a link too, is never written through."""
    new = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        with new.open("xb") as file:
            file.write(data)
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)


def _earlier(folder: Path) -> set[str]:
    """Return the files of an earlier export; there must be no others."""
    if folder.exists() and not folder.is_dir():
        raise ExportError(f"{folder} is not a folder")
    there = {
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir() or path.is_symlink()
    }
    if not there:
        return there
    if odd := sorted(path for path in there if not stat.S_ISREG((folder / path).lstat().st_mode)):
        raise ExportError(f"{folder} holds what is no file of an export, such as a link: {', '.join(odd[:5])}")
    if not _is_export(folder):
        raise ExportError(f"{folder} is not empty and holds no earlier export")
    if others := sorted(there - _listed(folder)):
        raise ExportError(f"{folder} holds more than an earlier export: {', '.join(others[:5])}")
    return there


def _is_export(folder: Path) -> bool:
    """Return whether a folder holds an export, of this version or another."""
    try:
        index = json.loads((folder / INDEX).read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(index, dict) and index.get("title") == TITLE and (folder / MANIFEST).is_file()


def _listed(folder: Path) -> set[str]:
    """Return the paths that the manifest of an export lists, and its own."""
    lines = (folder / MANIFEST).read_bytes().decode("utf-8", "replace").splitlines()
    paths = {line.partition("  ")[2] for line in lines} - {""}
    return {path for path in paths if not PurePosixPath(path).is_absolute() and ".." not in path} | {MANIFEST}


def _remove_empty(folder: Path, inner: Path) -> None:
    while inner != folder and not any(inner.iterdir()):
        inner.rmdir()
        inner = inner.parent
