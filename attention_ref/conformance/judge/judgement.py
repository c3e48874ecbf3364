"""The verdict on a subject."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from attention_ref.conformance.errors import ConformanceError
from attention_ref.conformance.judge import text
from attention_ref.conformance.judge.scenario import Scenario
from attention_ref.conformance.judge.trial import Outcome
from attention_ref.conformance.outcome import FAILED, PASSED, UNSUPPORTED

Command = Callable[[str], str]

FORMAT = 1
"""Raised when a program that reads judgements would have to change."""


@dataclass(frozen=True)
class Judgement:
    """What a subject did in every call.

    Arguments:
        subject: its name.
        seed: of the calls and their contents.
        dtypes, size: what was drawn.
        outcomes: the verdict on every call that was asked.
        not_asked: the calls that were left out after several failures, or because the time was over.
        smallest: the smallest call found that fails, in a process of its own; None where nothing fails, or nothing
            fails alone.
        command: says how to judge the call with an id again, or with an empty text all of them.
    """

    subject: str
    seed: int
    dtypes: tuple[str, ...]
    size: str
    outcomes: tuple[Outcome, ...]
    not_asked: tuple[Scenario, ...]
    smallest: Outcome | None
    command: Command

    @property
    def passed(self) -> bool:
        """Whether every call was asked, none failed and in every dtype one passed.

        What is unsupported counts neither way.
        """
        return not self.having(FAILED) and not self.not_asked and not self._unproved()

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it has not passed: every reason once, the most frequent first; empty for one that has."""
        if self.passed:
            return ()
        failures = [outcome.reason for outcome in self.having(FAILED)]
        found = sorted(dict.fromkeys(failures), key=lambda reason: -failures.count(reason))
        if not found and (unproved := self._unproved()):
            found.append(f"nothing that it supports was judged in {', '.join(unproved)}")
        if not failures and self.not_asked:
            found.append(f"the time was over before {len(self.not_asked)} calls were asked")
        return tuple(found)

    @property
    def failing(self) -> Outcome | None:
        """The failure to look at first: the smallest found, or the failing call with the fewest scores."""
        failures = sorted(self.having(FAILED), key=lambda outcome: outcome.scenario.scores)
        return self.smallest or next(iter(failures), None)

    @property
    def worst_share(self) -> float | None:
        """The largest error over its budget among the calls that passed: 1 is the limit."""
        return max((outcome.share for outcome in self.having(PASSED) if outcome.share is not None), default=None)

    @property
    def subject_seconds(self) -> float:
        """How long the subject took, with the transfer of its results."""
        return sum(outcome.subject_seconds for outcome in self.outcomes)

    @property
    def oracle_seconds(self) -> float:
        """How long the truth took."""
        return sum(outcome.oracle_seconds for outcome in self.outcomes)

    @property
    def unsupported(self) -> Mapping[str, tuple[Scenario, ...]]:
        """The calls that it refused, by what it said."""
        found: dict[str, list[Scenario]] = {}
        for outcome in self.having(UNSUPPORTED):
            found.setdefault(outcome.reason, []).append(outcome.scenario)
        return {reason: tuple(scenarios) for reason, scenarios in found.items()}

    @property
    def not_deterministic(self) -> tuple[Scenario, ...]:
        """The calls whose second answer had other bits, within the budget."""
        return tuple(outcome.scenario for outcome in self.having(PASSED) if not outcome.is_deterministic)

    def _unproved(self) -> list[str]:
        """Return the dtypes in which no call passed."""
        return sorted(set(self.dtypes) - {outcome.scenario.dtype for outcome in self.having(PASSED)})

    def having(self, verdict: str) -> list[Outcome]:
        """Return the outcomes with a verdict."""
        return [outcome for outcome in self.outcomes if outcome.verdict == verdict]

    def replay(self, scenario: Scenario) -> str:
        """Return the command that judges a call again."""
        return self.command(scenario.id)

    def raise_for_failures(self) -> None:
        """Raise `ConformanceError` with the judgement as its message unless it has passed."""
        if not self.passed:
            raise ConformanceError(str(self))

    def __str__(self) -> str:
        return text.write(self)

    def to_json(self) -> str:
        """Return one record, on one line."""
        found: dict[str, Any] = {
            "format": FORMAT,
            "subject": self.subject,
            "passed": self.passed,
            "reasons": list(self.reasons),
            "seed": self.seed,
            "dtypes": list(self.dtypes),
            "size": self.size,
            "smallest": self.failing and _item(self.failing),
            "worst_share": self.worst_share,
            "counts": {verdict: len(self.having(verdict)) for verdict in (PASSED, FAILED, UNSUPPORTED)},
            "not_asked": [scenario.id for scenario in self.not_asked],
            "not_deterministic": [scenario.id for scenario in self.not_deterministic],
            "unsupported": {reason: [each.id for each in group] for reason, group in self.unsupported.items()},
            "subject_seconds": round(self.subject_seconds, 3),
            "oracle_seconds": round(self.oracle_seconds, 3),
            "command": self.command(""),
            "calls": [_item(outcome) for outcome in self.outcomes],
        }
        return json.dumps(_finite(found), allow_nan=False)


def _item(outcome: Outcome) -> dict[str, Any]:
    mismatch = outcome.mismatch
    return {
        "case": outcome.scenario.id,
        "storage": outcome.pattern,
        "verdict": outcome.verdict,
        "reason": outcome.reason,
        "where": outcome.where,
        "share": outcome.share,
        "mismatch": mismatch and {**vars(mismatch), "index": list(mismatch.index)},
        "subject_seconds": round(outcome.subject_seconds, 4),
    }


def _finite(item: Any) -> Any:
    """Write numbers that JSON lacks as strings."""
    if isinstance(item, dict):
        return {name: _finite(each) for name, each in item.items()}
    if isinstance(item, list):
        return [_finite(each) for each in item]
    return str(item) if isinstance(item, float) and not abs(item) < float("inf") else item
