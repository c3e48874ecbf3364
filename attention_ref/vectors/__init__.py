"""The vectors: cases with their expected results, as JSON for any language.

`v2/<operation>/<profile>.json` is generated from `recipes/<operation>/<profile>.toml` and the executable specification
by `python -m attention_ref.vectors.build.generate`. The format is described by `schema/vectors.json`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attention_ref.vectors.bugs import bugs
from attention_ref.vectors.format_version import is_version_1
from attention_ref.vectors.schemas import schema

FORMAT_VERSION = 2
"""The version of the file format, also the number in the folder name."""

_FOLDER = Path(__file__).parent / f"v{FORMAT_VERSION}"

__all__ = ["FORMAT_VERSION", "bugs", "current", "load", "operations", "profiles", "read", "schema"]


def operations() -> list[str]:
    """Return the names of the operations that have vectors.

    Example:
        >>> operations()[:2]
        ['Block', 'FeedForward']
    """
    return sorted(entry.name for entry in _FOLDER.iterdir() if entry.is_dir())


def profiles(operation: str) -> list[str]:
    """Return the names of an operation's profiles: groups of cases that use the same options.

    Raises:
        KeyError: for an operation without vectors.

    Example:
        >>> profiles("additive_attention")
        ['core', 'visibility']
    """
    if operation not in operations():
        raise KeyError(f"no vectors for the operation {operation!r}; choose from: {', '.join(operations())}")
    names = (entry.name for entry in (_FOLDER / operation).iterdir())
    return sorted(name.removesuffix(".json") for name in names if name.endswith(".json"))


def load(operation: str, profile: str) -> dict[str, Any]:
    """Return one file of vectors, as `schema("vectors")` describes it. NaN and infinities are strings.

    Raises:
        KeyError: for an unknown operation or profile.

    Example:
        >>> case = load("linear", "core")["cases"][0]
        >>> case["id"], case["inputs"]["array"]["shape"]
        ('linear/core/plain', [2, 3, 4])
    """
    return json.loads(read(operation, profile))


def read(operation: str, profile: str) -> bytes:
    """Return the bytes of one file of vectors; raises like `load`.

    Example:
        >>> read("linear", "core")[:1]
        b'{'
    """
    if profile not in profiles(operation):
        raise KeyError(f"{operation} has no profile {profile!r}; choose from: {', '.join(profiles(operation))}")
    return _FOLDER.joinpath(operation, f"{profile}.json").read_bytes()


def current(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a file of vectors in the current format; a file of version 1 is converted.

    In version 1 `format_version`, `catches` and `references` were called `format`, `hunts` and `seen`, and cases had no
    `bug`.

    Raises:
        ValueError: for a file of another version.

    Example:
        >>> old = {"format": 1, "cases": [{"id": "linear/core/plain", "hunts": "a bug", "seen": []}]}
        >>> current(old)["cases"]
        [{'id': 'linear/core/plain', 'catches': 'a bug', 'references': []}]
    """
    if not is_version_1(document, "vectors", FORMAT_VERSION):
        return dict(document)
    renamed = {"format": "format_version", "hunts": "catches", "seen": "references"}
    about = {renamed.get(name, name): value for name, value in document.items()}
    cases = [{renamed.get(name, name): value for name, value in case.items()} for case in document["cases"]]
    return {**about, "format_version": FORMAT_VERSION, "cases": cases}
