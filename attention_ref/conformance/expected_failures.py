"""Known failures: a file that says which cases fail, and why. It is strict: what is known must fail.

    "attention/hygiene/*" = "NaN in hidden values reaches the output, issue 123"
    "attention/core/tiny*" = { dtypes = ["float32"], reason = "subnormal numbers are flushed to zero" }

A key is a pattern of case ids as in a shell; without `dtypes` it holds for all of them.
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
from attention_ref.spec.dtypes import DTYPES


@dataclass(frozen=True)
class Entry:
    """A pattern of case ids, the dtypes in which they fail, and the reason."""

    pattern: str
    dtypes: tuple[str, ...]
    reason: str

    def matches(self, case: Case, dtype: str) -> bool:
        """Say whether it speaks of a case in a dtype."""
        return dtype in self.dtypes and (case.id == self.pattern or fnmatchcase(case.id, self.pattern))


@dataclass(frozen=True)
class KnownFailures:
    """The entries of a file, in its order; the first that matches gives the reason."""

    name: str
    entries: tuple[Entry, ...]

    def reason(self, case: Case, dtype: str) -> str:
        """Give why a case is known to fail in a dtype; an empty string when it is not."""
        return next((entry.reason for entry in self.entries if entry.matches(case, dtype)), "")

    def marked(self, results: Iterable[Result]) -> list[Result]:
        """Give the results with the reasons of those that ran and are known to fail."""
        ran = (FAILED, PASSED)
        return [
            replace(result, known=self.reason(result.case, result.dtype)) if result.verdict in ran else result
            for result in results
        ]

    def require_matches(self, chosen: Sequence[tuple[Case, str]]) -> None:
        """Require that every entry speaks of a case that there is, chosen or not.

        Raises:
            UsageError: for one that matches none.
        """
        stale = [entry for entry in self.entries if not any(entry.matches(*check) for check in chosen)]
        if not stale:
            return
        everything = [(case, dtype) for case in all_cases() for dtype in case.dtypes]
        for entry in stale:
            if not any(entry.matches(*check) for check in everything):
                known = [case.id for case, dtype in everything if dtype in entry.dtypes]
                _blame(self.name, entry.pattern, known)


def read(path: str | Path) -> KnownFailures:
    """Read a file of known failures.

    Raises:
        UsageError: when it cannot be read, and for an entry without a reason or with an unknown dtype or key.
    """
    try:
        table = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"the known failures {path} cannot be read: {error}") from error
    except RecursionError as error:
        raise UsageError(f"the known failures {path} cannot be read: they are nested too deeply") from error
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
            _blame(path, dtype, DTYPES, "dtype")
    return Entry(pattern, tuple(dtypes), " ".join(reason.split()))


def _blame(path: str, name: Any, there: Iterable[str], what: str = "case") -> None:
    try:
        reject(what, str(name), dict.fromkeys(there))
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None
