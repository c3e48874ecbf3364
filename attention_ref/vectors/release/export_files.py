"""The files of an export of the vectors, for other programs and languages.

    README.md                               description of the files, with a reader to copy
    index.json                              the files, their versions, the numbers of the budget, and the kinds of bugs
    clauses.json                            the clauses that the cases refer to
    vectors.schema.json                     the JSON Schema of the vectors
    vectors/<operation>/<profile>.json      the vectors
    SHA256SUMS                              the digest of every other file, as `sha256sum --check` reads it

The export is the same to the byte on every machine.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib import resources
from typing import Any

from attention_ref import vectors
from attention_ref.spec import VERSION
from attention_ref.spec.clauses import clauses
from attention_ref.spec.dtypes import DTYPES
from attention_ref.spec.trace import FACTOR
from attention_ref.vectors.release.errata import errata

Name = tuple[str, str]
"""An operation and a profile."""
TITLE = "attention_ref vectors"
README, INDEX, MANIFEST = "README.md", "index.json", "SHA256SUMS"
BUDGET = {
    "factor": FACTOR,
    "dtypes": {
        name: {
            "arithmetic": dtype.arithmetic,
            "unit_roundoff": dtype.unit_roundoff,
            "smallest_normal": dtype.smallest_normal,
            "smallest_subnormal": dtype.smallest_subnormal,
        }
        for name, dtype in DTYPES.items()
    },
}
"""The constants that turn the sizes of rounding errors in the vectors into budgets."""


class ExportError(ValueError):
    """A folder that cannot be written or read, or an unknown part of the vectors."""


def contents(names: Sequence[Name]) -> dict[str, bytes]:
    """Return the files of an export by path, the manifest last.

    Arguments:
        names: the operation and profile of each file of vectors.
    """
    files = {vector_path(*name): vectors.read(*name) for name in names}
    cases = {name: len(json.loads(files[vector_path(*name)])["cases"]) for name in names}
    listed = [asdict(clause) for clause in clauses().values()]
    files |= {
        INDEX: _json(_index(cases)),
        "clauses.json": _json({"spec": VERSION, "clauses": listed}),
        "vectors.schema.json": _json(vectors.schema("vectors")),
        README: _readme(cases).encode(),
    }
    return {path: files[path] for path in sorted(files)} | {MANIFEST: _manifest(files)}


def names() -> list[Name]:
    """Return the operation and the profile of every file of vectors."""
    return [(operation, profile) for operation in vectors.operations() for profile in vectors.profiles(operation)]


def choose(operations: Sequence[str] | None, profiles: Sequence[str] | None) -> list[Name]:
    """Return the selected operations and profiles; all if None.

    Raises:
        ExportError: for an unknown operation or profile, and if nothing is selected.
    """
    available = {"operation": {operation for operation, _ in names()}, "profile": {profile for _, profile in names()}}
    for what, wanted in (("operation", operations), ("profile", profiles)):
        for name in wanted or ():
            if name not in available[what]:
                raise ExportError(f"there is no {what} {name!r}; choose from: {', '.join(sorted(available[what]))}")
    chosen = [
        (operation, profile)
        for operation, profile in names()
        if (operations is None or operation in operations) and (profiles is None or profile in profiles)
    ]
    if not chosen:
        raise ExportError("no selected operation has a selected profile")
    return chosen


def _manifest(files: Mapping[str, bytes]) -> bytes:
    """Return the digest of every file, sorted by path."""
    return "".join(f"{hashlib.sha256(files[path]).hexdigest()}  {path}\n" for path in sorted(files)).encode()


def vector_path(operation: str, profile: str) -> str:
    """Return the path of a file of vectors in an export."""
    return f"vectors/{operation}/{profile}.json"


def _index(cases: Mapping[Name, int]) -> dict[str, Any]:
    return {
        "title": TITLE,
        "format_version": vectors.FORMAT_VERSION,
        "spec": VERSION,
        "license": "Apache-2.0",
        "errata": [asdict(erratum) for erratum in errata()],
        "budget": BUDGET,
        "bugs": dict(vectors.bugs()),
        "files": [
            {"path": vector_path(operation, profile), "operation": operation, "profile": profile, "cases": count}
            for (operation, profile), count in cases.items()
        ],
    }


def _readme(cases: Mapping[Name, int]) -> str:
    rows = [f"| `{operation}` | `{profile}` | {count} |" for (operation, profile), count in cases.items()]
    dtypes = [f"| {name} | {' | '.join(map(_power, size.values()))} |" for name, size in BUDGET["dtypes"].items()]  # type: ignore[attr-defined]
    text = resources.files("attention_ref.vectors.release").joinpath("exported.md").read_text(encoding="utf-8")
    given = {"spec": VERSION, "format_version": str(vectors.FORMAT_VERSION)}
    given |= {"files": "\n".join(rows), "dtypes": "\n".join(dtypes)}
    for name, value in {**given, "total": str(sum(cases.values())), "factor": str(BUDGET["factor"])}.items():
        text = text.replace(f"<<{name}>>", value)
    return text


def _power(number: float | str) -> str:
    """Format a power of two."""
    if isinstance(number, str):
        return number
    numerator, denominator = number.as_integer_ratio()
    return f"2^{numerator.bit_length() - denominator.bit_length()}"


def _json(document: Any) -> bytes:
    return (json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()
