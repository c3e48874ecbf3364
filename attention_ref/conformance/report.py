"""The outcome of a check: verdicts to compute with, text to read, data for other programs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from attention_ref.conformance import text
from attention_ref.conformance.runner import FAILED, PASSED, Result
from attention_ref.conformance.subject import Subject
from attention_ref.conformance.verdicts import ClauseVerdict, clause_verdicts
from attention_ref.spec import VERSION


class ConformanceError(AssertionError):
    """What was checked does not conform; the message is the report."""


@dataclass(frozen=True, eq=False)
class Report:
    """The outcome of a check.

    Arguments:
        subject: what was checked.
        dtypes: in which it was to be run.
        results: one for each case and dtype.
        reproduce: gives the one line that runs a case in a dtype again.
        binds_optional: whether optional clauses decide conformance: for backends of this library, and where they were
            asked for.
    """

    subject: Subject
    dtypes: Sequence[str]
    results: Sequence[Result]
    reproduce: Callable[[str, str], str]
    binds_optional: bool = False

    @property
    def passed(self) -> bool:
        """Whether everything that ran and decides is right, and something ran: a subject that supports nothing does
        not conform.
        """
        verdicts = {result.verdict for result in self.results if self.decides(result)}
        return PASSED in verdicts and FAILED not in verdicts

    @cached_property
    def clauses(self) -> list[ClauseVerdict]:
        """A verdict on every clause that a chosen case depends on."""
        return clause_verdicts(self.results)

    @property
    def failures(self) -> list[Result]:
        """The results that are wrong, those of optional clauses too."""
        return [result for result in self.results if result.verdict == FAILED]

    @property
    def surprises(self) -> list[Result]:
        """The failures that decide and are not known, and what passes although it is known to fail."""
        wrong = [result for result in self.failures if self.decides(result) and not result.known]
        return wrong + [result for result in self.results if result.verdict == PASSED and result.known]

    @property
    def is_as_known(self) -> bool:
        """Whether something passed, and exactly those cases fail that are known to; without any, whether all passed."""
        return any(each.verdict == PASSED and self.decides(each) for each in self.results) and not self.surprises

    def decides(self, result: Result) -> bool:
        """Say whether conformance depends on a result."""
        return self.binds_optional or not result.case.is_optional

    def failure(self, result: Result) -> str:
        """Say what is wrong in a result, why it matters and how to run it again, in a few lines."""
        return "\n".join(text.failure(self, result))

    def raise_for_failures(self) -> None:
        """Raise `ConformanceError` with the report as its message, unless the subject conforms."""
        if not self.passed:
            raise ConformanceError(f"\n{self}")

    def __str__(self) -> str:
        return text.write(self)

    def to_dict(self) -> dict[str, Any]:
        """Give the report as data for JSON; NaN and infinities are strings, as in the vectors."""
        data = {
            "subject": self.subject.name,
            "version": self.subject.version,
            "arrays": self.subject.arrays,
            "spec": VERSION,
            "dtypes": list(self.dtypes),
            "passed": self.passed,
            "as_known": self.is_as_known,
            "clauses": [asdict(verdict) for verdict in self.clauses],
            "results": [self._result(result) for result in self.results],
        }
        return dict(_json(data))

    def _result(self, result: Result) -> dict[str, Any]:
        data = {
            name: getattr(result, name)
            for name in ("dtype", "verdict", "reason", "where", "share", "warnings", "known")
        }
        mismatch = asdict(result.mismatch) if result.mismatch else None
        return {
            "case": result.case.id,
            "clauses": result.case.clauses,
            "hunts": result.case.hunts,
            "decides": self.decides(result),
            **data,
            "mismatch": mismatch,
            "reproduce": self.reproduce(result.case.id, result.dtype) if result.verdict == FAILED else None,
        }


def _json(item: Any) -> Any:
    if isinstance(item, dict):
        return {name: _json(value) for name, value in item.items()}
    if isinstance(item, (list, tuple)):
        return [_json(value) for value in item]
    if isinstance(item, float) and not math.isfinite(item):
        return "NaN" if math.isnan(item) else "Infinity" if item > 0 else "-Infinity"
    return item
