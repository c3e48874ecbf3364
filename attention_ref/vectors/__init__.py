"""The vectors: cases with their truth, as JSON that any language can read.

`v1/<operation>/<profile>.json` is generated from `recipes/<operation>/<profile>.toml` and the executable specification
by `python -m attention_ref.vectors.build.generate`. The format is described by `schema/vectors.json`.
"""

from __future__ import annotations

import json
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any

from attention_ref.vectors.schemas import schema

FORMAT = 1
"""The version of the file format, and the number in the folder's name."""

__all__ = ["FORMAT", "load", "operations", "profiles", "read", "schema"]


def operations() -> list[str]:
    """Return the names of the operations that have vectors."""
    return sorted(entry.name for entry in _folder().iterdir() if entry.is_dir())


def profiles(operation: str) -> list[str]:
    """Return the names of an operation's profiles: groups of cases that use the same options.

    Raises:
        KeyError: for an operation without vectors.
    """
    if operation not in operations():
        raise KeyError(f"no vectors for the operation {operation!r}; there are {', '.join(operations())}")
    names = (entry.name for entry in _folder().joinpath(operation).iterdir())
    return sorted(name.removesuffix(".json") for name in names if name.endswith(".json"))


def load(operation: str, profile: str) -> dict[str, Any]:
    """Return one file of vectors, as `schema("vectors")` describes it. NaN and infinities stay strings.

    Raises:
        KeyError: for an operation or a profile that does not exist.
    """
    return json.loads(read(operation, profile))


def read(operation: str, profile: str) -> bytes:
    """Return one file of vectors as its bytes; errors are those of `load`."""
    if profile not in profiles(operation):
        raise KeyError(f"{operation} has no profile {profile!r}; there are {', '.join(profiles(operation))}")
    return _folder().joinpath(operation, f"{profile}.json").read_bytes()


def _folder() -> Traversable:
    return resources.files("attention_ref.vectors").joinpath(f"v{FORMAT}")
