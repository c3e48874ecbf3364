"""Export the vectors to a folder, and recognise an earlier export."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from attention_ref.vectors.release.export_files import INDEX, MANIFEST, TITLE, ExportError, choose, contents


def export(folder: Path, operations: Sequence[str] | None = None, profiles: Sequence[str] | None = None) -> list[str]:
    """Write vectors, with schema, clauses and README, to a folder.

    Arguments:
        folder: the folder, created if missing. An earlier export in it is replaced.
        operations: the operations to export; all if None.
        profiles: the profiles to export of each operation that has them; all if None.

    Returns:
        The paths of the files, relative to the folder.

    Raises:
        ExportError: for an unknown operation or profile, a folder with other content or links, and if writing fails.
    """
    files = contents(choose(operations, profiles))
    try:
        _replace(folder, files)
    except OSError as error:
        raise ExportError(f"{error.filename or folder} cannot be written: {error.strerror}") from error
    return sorted(files)


def _replace(folder: Path, files: Mapping[str, bytes]) -> None:
    """Replace an earlier export by files."""
    earlier = _earlier(folder)
    for path in sorted(earlier - set(files)):
        (folder / path).unlink()
        _remove_empty(folder, (folder / path).parent)
    for path in sorted(
        files, key=lambda name: (name not in (INDEX, MANIFEST), name)
    ):  # first the index, which identifies an export
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        _write(folder / path, files[path])


def _write(path: Path, data: bytes) -> None:
    """Write a new file and rename it, so that a link of that name is replaced and never followed."""
    new = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        with new.open("xb") as file:
            file.write(data)
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)


def _earlier(folder: Path) -> set[str]:
    """Return the files of an earlier export; raise if the folder has others."""
    if folder.exists() and not folder.is_dir():
        raise ExportError(f"{folder} is not a folder")
    there = {
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir() or path.is_symlink()
    }
    if not there:
        return there
    if odd := sorted(path for path in there if not stat.S_ISREG((folder / path).lstat().st_mode)):
        raise ExportError(
            f"{folder} contains something other than files of an export, such as a link: {', '.join(odd[:5])}"
        )
    if not _is_export(folder):
        raise ExportError(f"{folder} is not empty and is not an earlier export")
    if others := sorted(there - _listed(folder)):
        raise ExportError(f"{folder} contains files besides an earlier export: {', '.join(others[:5])}")
    return there


def _is_export(folder: Path) -> bool:
    """Return whether a folder is an export, of any version."""
    try:
        index = json.loads((folder / INDEX).read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(index, dict) and index.get("title") == TITLE and (folder / MANIFEST).is_file()


def _listed(folder: Path) -> set[str]:
    """Return the paths in the manifest of an export, and that of the manifest."""
    lines = (folder / MANIFEST).read_bytes().decode("utf-8", "replace").splitlines()
    paths = {line.partition("  ")[2] for line in lines} - {""}
    return {path for path in paths if not PurePosixPath(path).is_absolute() and ".." not in path} | {MANIFEST}


def _remove_empty(folder: Path, inner: Path) -> None:
    while inner != folder and not any(inner.iterdir()):
        inner.rmdir()
        inner = inner.parent
