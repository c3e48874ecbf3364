"""The report of a test of laws: a verdict on each, and the counterexamples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attention_ref.conformance.errors import ConformanceError
from attention_ref.conformance.laws import counterexample, law_text
from attention_ref.conformance.laws.law_results import LawResults
from attention_ref.conformance.laws.search_loop import LawResult
from attention_ref.spec import VERSION
from attention_ref.vectors.build.json_text import write

Reproduce = Callable[[LawResult], str]


@dataclass(frozen=True, eq=False)
class LawReport(LawResults):
    """The results of testing laws on a subject, which can be written as text and JSON."""

    def raise_for_failures(self) -> None:
        """Raise `ConformanceError`, with the report as its message, if a law is broken or none was tested."""
        if not self.passed:
            raise ConformanceError(f"\n{self}")

    def __str__(self) -> str:
        return law_text.write(self)

    def counterexample(self, result: LawResult) -> dict[str, Any]:
        """Return the counterexample of a broken law as data for JSON."""
        if result.outcome is None:
            raise ValueError(f"{result.law.id} is not broken")
        about = {
            "subject": " ".join(filter(None, (self.subject.name, self.subject.version))),
            "law": result.law.id,
            "statement": result.law.statement,
            "clauses": list(result.law.clauses),
            "operation": result.operation,
            "dtype": result.dtype,
        }
        return counterexample.document(result.outcome, about)

    def save(self, folder: str | Path) -> list[Path]:
        """Write the counterexamples to a folder and return their paths."""
        paths = []
        for result in self.failures:
            path = Path(folder) / f"{name_of(result)}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(write(self.counterexample(result)), encoding="utf-8")
            paths.append(path)
        return paths

    def to_dict(self) -> dict[str, Any]:
        """Return the report as data for JSON."""
        return {
            "subject": self.subject.name,
            "version": self.subject.version,
            "arrays": self.subject.arrays,
            "spec": VERSION,
            "dtypes": list(self.dtypes),
            "seed": self.seed,
            "passed": self.passed,
            "laws": [self._result(result) for result in self.results],
        }

    def _result(self, result: LawResult) -> dict[str, Any]:
        is_broken = result.outcome is not None
        return {
            "law": result.law.id,
            "statement": result.law.statement,
            "clauses": list(result.law.clauses),
            "operation": result.operation,
            "dtype": result.dtype,
            "verdict": result.verdict,
            "reason": result.reason,
            "examples": result.examples,
            "error_ratio": result.error_ratio,
            "counterexample": self.counterexample(result) if is_broken else None,
            "reproduce": self.reproduce(result) if is_broken else None,
        }


def name_of(result: LawResult) -> str:
    """Return the name of a counterexample's file, without its ending."""
    return f"{result.law.id}.{result.operation}.{result.dtype}"
