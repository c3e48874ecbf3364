"""Verify an export against its manifest and against the vectors of this package.

The manifest detects changes of files since the export. The package detects changes of files together with the manifest.
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
    """One difference found by a verification.

    Arguments:
        kind: `"version"`; of a file `"changed"`, `"missing"`, `"extra"`, `"differs"` (from the package, and agrees with
            the manifest); of the manifest `"manifest"`.
        path: the path of the file.
        text: a description.
    """

    kind: str
    path: str
    text: str


class Verification(NamedTuple):
    """The content of an export according to its index, and the problems found."""

    spec: str | None
    files: int
    cases: int
    problems: tuple[Problem, ...]


def verify(folder: Path) -> Verification:
    """Compare a folder with its manifest and with the package.

    Raises:
        ExportError: if the folder does not exist, or a file in it cannot be read.
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
        problems.append(Problem("manifest", MANIFEST, "its lines were changed"))
    counts = [entry["cases"] for entry in index.get("files", ())]
    return Verification(index.get("spec"), len(counts), sum(counts), tuple(problems))


def _files(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Return the content of every file; links and pipes are not followed or read, but described."""
    for path in sorted(folder.rglob("*")):
        mode, name = path.lstat().st_mode, path.relative_to(folder).as_posix()
        if stat.S_ISREG(mode):
            yield name, path.read_bytes()
        elif stat.S_ISLNK(mode):
            yield name, os.fsencode(f"a link to {path.readlink()}")
        elif not stat.S_ISDIR(mode):
            yield name, b"neither a file nor a folder"


def _index(data: bytes) -> dict[str, Any]:
    """Parse an index, ignoring malformed parts."""
    try:
        index = json.loads(data)
        entries = [tuple(map(type, map(entry.get, ("operation", "profile", "cases")))) for entry in index["files"]]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {}
    return index if set(entries) == {(str, str, int)} else {}


def _versions(index: Mapping[str, Any]) -> Iterator[Problem]:
    if "format" in index and "format_version" not in index:  # as exports of version 1 call it
        index = {**index, "format_version": index["format"]}
    for name, ours in (("format_version", vectors.FORMAT_VERSION), ("spec", VERSION)):
        if index and index.get(name) != ours:
            text = f"{name} {index.get(name)} differs from {ours} of this package, so the vectors cannot be compared"
            yield Problem("version", INDEX, text)


def _names(index: Mapping[str, Any], paths: Collection[str]) -> list[Name]:
    """Return the exported operations and profiles, from the index or else from the paths."""
    listed = {(entry["operation"], entry["profile"]) for entry in index.get("files", ())}
    return [name for name in names() if name in listed or (not listed and vector_path(*name) in paths)]


def _manifest(data: bytes) -> tuple[dict[str, str], list[Problem]]:
    """Parse the manifest; return digests by path, and problems of the manifest itself."""
    if not data:
        return {}, [Problem("missing", MANIFEST, "the manifest is missing or empty")]
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
    """Return at most one problem of a file, the most specific."""
    if data is None:
        text = "listed but missing" if listed else "neither present nor listed, but part of the package"
        yield Problem("missing", path, text)
    elif listed is None and data == expected:
        yield Problem("manifest", path, "equal to the file of the package, but not listed in the manifest")
    elif listed is None:
        yield Problem("extra", path, "not listed")
    elif listed != hashlib.sha256(data).hexdigest():
        if data == expected:
            yield Problem("manifest", path, "equal to the file of the package, but the manifest lists another digest")
        else:
            yield Problem("changed", path, f"its digest differs from the listed one{_where(data, expected)}")
    elif is_comparable and expected is None:
        yield Problem("differs", path, "listed, but not part of the package")
    elif is_comparable and data != expected:
        yield Problem("differs", path, f"agrees with the manifest, but not with the package{_where(data, expected)}")


def _where(data: bytes, expected: bytes | None) -> str:
    """Describe the first differing line and the differing cases of a file."""
    if expected is None:
        return ""
    pairs = enumerate(zip(data.splitlines(), expected.splitlines(), strict=False), 1)
    line = next((number for number, (ours, theirs) in pairs if ours != theirs), None)
    text = f"; line {line} is the first that differs" if line else "; its length differs"
    cases = _changed_cases(data, expected)
    more = f" and {len(cases) - _CASES_NAMED} more" if len(cases) > _CASES_NAMED else ""
    return text + (f", in {', '.join(cases[:_CASES_NAMED])}{more}" if cases else "")


def _changed_cases(data: bytes, expected: bytes) -> list[str]:
    """Return the differing cases, each with the erratum that corrected it, if any."""
    try:
        before, now = ({case["id"]: digest(case) for case in json.loads(text)["cases"]} for text in (data, expected))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return []
    corrected = {case: f" (corrected by erratum {erratum.id})" for erratum in errata() for case in erratum.cases}
    changed = [case for case in {**now, **before} if before.get(case) != now.get(case)]
    return [case + corrected.get(case, "") for case in changed]
