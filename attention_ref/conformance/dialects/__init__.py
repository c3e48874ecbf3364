"""The dialects of released libraries, one TOML file each, and the reader of such files."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from attention_ref.conformance.dialects.dialect import FIELDS, Dialect, Exclusion
from attention_ref.conformance.errors import UsageError, reject

_FOLDER = Path(__file__).parent
_TYPES: Mapping[type, tuple[str, ...]] = {
    list: ("by_mask", "returns", "dtypes", "ranks", "head_sizes", "exclusions"),
    dict: ("arguments", "constants", "notes"),
    int: ("mask_rank", "page_size"),
}
"""The fields that are no strings."""


def names() -> tuple[str, ...]:
    """Return the names of the built-in dialects."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.toml")))


def listed() -> dict[str, str]:
    """Return a description of every built-in dialect by name: the first line of its file."""
    files = {name: _FOLDER / f"{name}.toml" for name in names()}
    return {name: path.read_text(encoding="utf-8").partition("\n")[0].strip("# ") for name, path in files.items()}


@cache
def named(name: str) -> Dialect:
    """Return a built-in dialect.

    Raises:
        UsageError: for an unknown name.
    """
    if name not in names():
        reject("dialect", name, names())
    return read(_FOLDER / f"{name}.toml")


def resolve(dialect: Dialect | str | Path) -> Dialect:
    """Return a dialect: given as such, by name, or as the path of a `.toml` file."""
    if isinstance(dialect, Dialect):
        return dialect
    return read(Path(dialect)) if str(dialect).endswith(".toml") else named(str(dialect))


def read(path: Path) -> Dialect:
    """Read a dialect from a TOML file.

    Raises:
        UsageError: if it cannot be read, or has an unknown field or value; the message names the file.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
        return _dialect(data)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path} is not valid TOML: {error}") from error
    except RecursionError as error:
        raise UsageError(f"{path} is nested too deeply") from error
    except UsageError as error:
        raise UsageError(f"{path.name}: {error}") from error


def _dialect(data: Mapping[str, Any]) -> Dialect:
    for name, value in data.items():
        if name not in FIELDS:
            reject("field of a dialect", name, FIELDS)
        wanted: type = next((kind for kind, names in _TYPES.items() if name in names), str)
        if type(value) is not wanted:
            raise UsageError(f"{name} is {value!r}; it must be a {_KINDS[wanted]}")
    exclusions = tuple(map(_exclusion, data.get("exclusions", ())))
    return Dialect(**{**data, "exclusions": exclusions})


_KINDS = {list: "list", dict: "table", int: "whole number", str: "string"}


def _exclusion(item: Any) -> Exclusion:
    if not isinstance(item, dict) or set(item) != {"when", "reason"} or not isinstance(item["when"], list):
        raise UsageError(f"an exclusion must have a list `when` and a string `reason`, got {item!r}")
    return Exclusion(tuple(item["when"]), str(item["reason"]))
