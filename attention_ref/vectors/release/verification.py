"""Verifying an export: against its own manifest, and against the vectors of this package.

The manifest tells what happened to the files since they were written. The package tells whether they, and the manifest
with them, are what was written.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from attention_ref import vectors
from attention_ref.spec import VERSION
from attention_ref.vectors.release.errata import digest, errata
from attention_ref.vectors.release.export_files import INDEX, MANIFEST, ExportError, Name, contents, names, vector_path

_LINE = re.compile(r"([0-9a-f]{64})  (\S.*)")
_CASES_NAMED = 5


class Problem(NamedTuple):
    """One difference.

    Arguments:
        kind: `"version"`; of a file `"changed"`, `"missing"`, `"extra"`, `"differs"` (from the package, and agrees with
            the manifest); of the manifest `"manifest"`.
        path: of the file.
        text: what is wrong with it.
    """

    kind: str
    path: str
    text: str


class Verification(NamedTuple):
    """What an export says that it holds, and what is wrong with it."""

    spec: str | None
    files: int
    cases: int
    problems: tuple[Problem, ...]


def verify(folder: Path) -> Verification:
    """Compare a folder with its manifest and with the package.

    Raises:
        ExportError: when there is no such folder, or a file of it cannot be read.
    """
    if not folder.is_dir():
        raise ExportError(f"there is no folder {folder}")
    try:
        there = dict(_files(folder))
    except OSError as error:
        raise ExportError(f"{error.filename or folder} cannot be read: {error.strerror}") from error
    index = _index(there.get(INDEX, b""))
    problems = list(_versions(index))
    listed, broken = _manifest(there.get(MANIFEST, b""))
    expected = {} if problems else contents(_names(index, {*there, *listed}))
    problems += broken
    for path in sorted({*there, *listed, *expected} - {MANIFEST}):
        problems += _problems(path, there.get(path), listed.get(path), expected.get(path), bool(expected))
    if not problems and there[MANIFEST] != expected[MANIFEST]:
        problems.append(Problem("manifest", MANIFEST, "its lines are not as they were written"))
    counts = [entry["cases"] for entry in index.get("files", ())]
    return Verification(index.get("spec"), len(counts), sum(counts), tuple(problems))


def _files(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Return the content of every file. A link is none: what it points to may change. Nor is a pipe: it has no end."""
    for path in sorted(folder.rglob("*")):
        mode, name = path.lstat().st_mode, path.relative_to(folder).as_posix()
        if stat.S_ISREG(mode):
            yield name, path.read_bytes()
        elif stat.S_ISLNK(mode):
            yield name, os.fsencode(f"a link to {path.readlink()}")
        elif not stat.S_ISDIR(mode):
            yield name, b"neither a file nor a folder"


def _index(data: bytes) -> dict[str, Any]:
    """Read an index as far as it can be read."""
    try:
        index = json.loads(data)
        entries = [tuple(map(type, map(entry.get, ("operation", "profile", "cases")))) for entry in index["files"]]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {}
    return index if set(entries) == {(str, str, int)} else {}


def _versions(index: Mapping[str, Any]) -> Iterator[Problem]:
    for name, ours in (("format", vectors.FORMAT), ("spec", VERSION)):
        if index and index.get(name) != ours:
            text = f"{name} {index.get(name)}, where this package has {ours}: its vectors cannot be compared"
            yield Problem("version", INDEX, text)


def _names(index: Mapping[str, Any], paths: Collection[str]) -> list[Name]:
    """Return the vectors of the package that an export is of: what its index says, or else its paths."""
    said = {(entry["operation"], entry["profile"]) for entry in index.get("files", ())}
    return [name for name in names() if name in said or (not said and vector_path(*name) in paths)]


def _manifest(data: bytes) -> tuple[dict[str, str], list[Problem]]:
    """Read the digests by path, and what is wrong with the manifest itself."""
    if not data:
        return {}, [Problem("missing", MANIFEST, "there is no manifest, or it is empty")]
    digests: dict[str, str] = {}
    problems = []
    for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), 1):
        match = _LINE.fullmatch(line)
        if match is None:
            problems.append(Problem("manifest", MANIFEST, f"line {number} is not a digest and a path"))
        elif match[2] in digests:
            problems.append(Problem("manifest", MANIFEST, f"line {number} lists {match[2]} again"))
        else:
            digests[match[2]] = match[1]
    return digests, problems


def _problems(
    path: str, data: bytes | None, listed: str | None, expected: bytes | None, is_comparable: bool
) -> Iterator[Problem]:
    """Return what is wrong with one file: at most one problem, the one that explains the others."""
    if data is None:
        text = "it is listed and not there" if listed else "it is neither there nor listed, and the package has it"
        yield Problem("missing", path, text)
    elif listed is None and data == expected:
        yield Problem("manifest", path, "the file is as the package has it, but the manifest does not list it")
    elif listed is None:
        yield Problem("extra", path, "it is not listed")
    elif listed != hashlib.sha256(data).hexdigest():
        if data == expected:
            yield Problem("manifest", path, "the file is as the package has it, but the manifest lists another digest")
        else:
            yield Problem("changed", path, f"its digest is not the one listed{_where(data, expected)}")
    elif is_comparable and expected is None:
        yield Problem("differs", path, "it is listed, and the package has no such file")
    elif is_comparable and data != expected:
        yield Problem("differs", path, f"it agrees with the manifest, but not with the package{_where(data, expected)}")


def _where(data: bytes, expected: bytes | None) -> str:
    """Say in which line, and in which cases, a file differs from the package's."""
    if expected is None:
        return ""
    pairs = enumerate(zip(data.splitlines(), expected.splitlines(), strict=False), 1)
    line = next((number for number, (ours, theirs) in pairs if ours != theirs), None)
    text = f"; line {line} is the first that differs" if line else "; it is cut short or goes on"
    cases = _changed_cases(data, expected)
    more = f" and {len(cases) - _CASES_NAMED} more" if len(cases) > _CASES_NAMED else ""
    return text + (f", in {', '.join(cases[:_CASES_NAMED])}{more}" if cases else "")


def _changed_cases(data: bytes, expected: bytes) -> list[str]:
    """Name the cases that differ, each with the erratum that corrected it where there is one."""
    try:
        before, now = ({case["id"]: digest(case) for case in json.loads(text)["cases"]} for text in (data, expected))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return []
    corrected = {case: f" (corrected by erratum {erratum.id})" for erratum in errata() for case in erratum.cases}
    changed = [case for case in {**now, **before} if before.get(case) != now.get(case)]
    return [case + corrected.get(case, "") for case in changed]
