"""The report of a check, with its text and JSON forms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from attention_ref.conformance.check_results import CheckResults
from attention_ref.conformance.errors import ConformanceError
from attention_ref.conformance.outcome import Result
from attention_ref.conformance.reports import json, text


@dataclass(frozen=True, eq=False)
class Report(CheckResults):
    """The results of a check, which can be written as text and JSON."""

    def failure(self, result: Result) -> str:
        """Describe a failed result in a few lines: error, the bug that the case catches, command to reproduce it."""
        return "\n".join(text.failure(self, result))

    def raise_for_failures(self) -> None:
        """Raise `ConformanceError`, with the report as its message, if the subject does not conform."""
        if not self.passed:
            raise ConformanceError(f"\n{self}")

    def __str__(self) -> str:
        return text.write(self)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as data for JSON; NaN and infinities are strings, as in the vectors."""
        return json.data(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Report:
        """Make a report from the data of `to_dict`."""
        results = json.read(data)
        return cls(**{each.name: getattr(results, each.name) for each in fields(results)})
