"""Known failures: a TOML file of the cases that are expected to fail, with reasons. They must fail.

    format_version = 2
    "attention/hygiene/*" = "NaN in hidden values reaches the output, issue 123"
    "attention/core/tiny*" = { dtypes = ["float32"], reason = "subnormal numbers are flushed to zero" }

Any other key is a shell pattern of case ids; without `dtypes` it applies to every dtype. A file without
`format_version` is of version 1, which differs in nothing else.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from attention_ref.conformance.case import Case, all_cases
from attention_ref.conformance.errors import UsageError, reject
from attention_ref.conformance.outcome import FAILED, PASSED, Result
from attention_ref.conformance.regular_file import read_text
from attention_ref.spec.dtypes import DTYPES

FORMAT_VERSION = 2
"""The version of the file format."""


@dataclass(frozen=True)
class Entry:
    """A pattern of case ids, the dtypes in which they fail, and the reason."""

    pattern: str
    dtypes: tuple[str, ...]
    reason: str

    def matches(self, case: Case, dtype: str) -> bool:
        """Return whether the entry applies to a case in a dtype."""
        return dtype in self.dtypes and (case.id == self.pattern or fnmatchcase(case.id, self.pattern))


@dataclass(frozen=True)
class KnownFailures:
    """The entries of a file, in order; the first match determines the reason."""

    name: str
    entries: tuple[Entry, ...]

    def reason(self, case: Case, dtype: str) -> str:
        """Return why a case is expected to fail in a dtype, or an empty string."""
        return next((entry.reason for entry in self.entries if entry.matches(case, dtype)), "")

    def marked(self, results: Iterable[Result]) -> list[Result]:
        """Return the results, with the reason set where a case ran and is expected to fail."""
        ran = (FAILED, PASSED)
        return [
            replace(result, known=self.reason(result.case, result.dtype)) if result.verdict in ran else result
            for result in results
        ]

    def require_matches(self, chosen: Sequence[tuple[Case, str]]) -> None:
        """Require that every entry matches an existing case, selected or not.

        Raises:
            UsageError: for an entry that matches none.
        """
        stale = [entry for entry in self.entries if not any(entry.matches(*check) for check in chosen)]
        if not stale:
            return
        everything = [(case, dtype) for case in all_cases() for dtype in case.dtypes]
        for entry in stale:
            if not any(entry.matches(*check) for check in everything):
                available = [case.id for case, dtype in everything if dtype in entry.dtypes]
                _reject(self.name, entry.pattern, available)


def read(path: str | Path) -> KnownFailures:
    """Read a file of known failures.

    Raises:
        UsageError: if it cannot be read, is of another format version, or an entry has no reason, an unknown dtype or
            an unknown key.
    """
    try:
        table = tomllib.loads(read_text(path))
    except (OSError, ValueError) as error:
        raise UsageError(f"the known failures {path} cannot be read: {error}") from error
    except RecursionError as error:
        raise UsageError(f"the known failures {path} cannot be read: the TOML is nested too deeply") from error
    version = table.pop("format_version", 1)
    if isinstance(version, bool) or version not in (1, FORMAT_VERSION):
        raise UsageError(f"{path}: format version {version!r} is not supported; expected {FORMAT_VERSION} or 1")
    return KnownFailures(str(path), tuple(_entry(str(path), pattern, value) for pattern, value in table.items()))


def _entry(path: str, pattern: str, value: Any) -> Entry:
    fields = {"reason": value} if isinstance(value, str) else value
    if not isinstance(fields, dict) or not set(fields) <= {"reason", "dtypes"}:
        raise UsageError(f'{path}: "{pattern}" must be a reason, or a table with reason and dtypes')
    reason, dtypes = fields.get("reason"), fields.get("dtypes", list(DTYPES))
    if not isinstance(reason, str) or not reason.strip():
        raise UsageError(f'{path}: "{pattern}" has no reason')
    if not isinstance(dtypes, list) or not dtypes:
        raise UsageError(f'{path}: the dtypes of "{pattern}" must be a list of names')
    for dtype in dtypes:
        if dtype not in DTYPES:
            _reject(path, dtype, DTYPES, "dtype")
    return Entry(pattern, tuple(dtypes), " ".join(reason.split()))


def _reject(path: str, name: Any, available: Iterable[str], what: str = "case") -> None:
    try:
        reject(what, str(name), dict.fromkeys(available))
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None
