"""The verdict on a subject."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from attention_ref.conformance.errors import ConformanceError
from attention_ref.conformance.judge.replay import Command
from attention_ref.conformance.judge.scenario import Scenario
from attention_ref.conformance.judge.trial import Outcome
from attention_ref.conformance.outcome import FAILED, PASSED, UNSUPPORTED

_MOST_REASONS, _MOST_LISTED, _MOST_LINES, _LONGEST = 2, 8, 2, 150

FORMAT_VERSION = 2
"""Raised when a program that reads judgements would have to change."""


@dataclass(frozen=True)
class Judgement:
    """The outcomes of a subject in every call.

    Arguments:
        subject: its name.
        seed: of the calls and their contents.
        dtypes, size, gradients: what was drawn.
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
    gradients: bool
    outcomes: tuple[Outcome, ...]
    not_asked: tuple[Scenario, ...]
    smallest: Outcome | None
    command: Command

    @property
    def passed(self) -> bool:
        """Whether every call was asked, none failed and in every dtype one passed, of the gradients too.

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
    def worst_error_ratio(self) -> float | None:
        """The largest error over its budget among the calls that passed: 1 is the limit."""
        return max(
            (outcome.error_ratio for outcome in self.having(PASSED) if outcome.error_ratio is not None), default=None
        )

    @property
    def median_error_ratio(self) -> float | None:
        """The median of these errors over the calls that passed."""
        ratios = [outcome.error_ratio for outcome in self.having(PASSED) if outcome.error_ratio is not None]
        return median(ratios) if ratios else None

    @property
    def subject_seconds(self) -> float:
        """The time of the subject, with the transfer of its results."""
        return sum(outcome.subject_seconds for outcome in self.outcomes)

    @property
    def oracle_seconds(self) -> float:
        """The time of the expected results."""
        return sum(outcome.oracle_seconds for outcome in self.outcomes)

    @property
    def unsupported(self) -> Mapping[str, tuple[Scenario, ...]]:
        """The calls that it refused, by reason."""
        found: dict[str, list[Scenario]] = {}
        for outcome in self.having(UNSUPPORTED):
            found.setdefault(outcome.reason, []).append(outcome.scenario)
        return {reason: tuple(scenarios) for reason, scenarios in found.items()}

    @property
    def not_deterministic(self) -> tuple[Scenario, ...]:
        """The calls whose second answer had other bits, within the budget."""
        return tuple(outcome.scenario for outcome in self.having(PASSED) if not outcome.is_deterministic)

    def _unproved(self) -> list[str]:
        """Return the dtypes in which no call passed, or none that asks for gradients."""
        passed = {(outcome.scenario.dtype, outcome.scenario.gradients) for outcome in self.having(PASSED)}
        asked = {outcome.scenario.gradients for outcome in self.outcomes}
        wanted = [(dtype, asks) for dtype in sorted(self.dtypes) for asks in sorted(asked or {False})]
        return [f"gradients of {dtype}" if asks else dtype for dtype, asks in wanted if (dtype, asks) not in passed]

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
        return text(self)

    def to_json(self) -> str:
        """Return one record, on one line."""
        found: dict[str, Any] = {
            "format_version": FORMAT_VERSION,
            "subject": self.subject,
            "passed": self.passed,
            "reasons": list(self.reasons),
            "seed": self.seed,
            "dtypes": list(self.dtypes),
            "size": self.size,
            "gradients": self.gradients,
            "smallest": self.failing and _item(self.failing),
            "worst_error_ratio": self.worst_error_ratio,
            "median_error_ratio": self.median_error_ratio,
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
        "error_ratio": outcome.error_ratio,
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


def text(judgement: Judgement) -> str:
    """Return a judgement as text: the verdict and what to do first, then what was asked, then the verdict again."""
    lines = [_verdict(judgement)]
    lines += _reasons(judgement)
    lines += _failing(judgement)
    lines += [f"seed: {judgement.seed}   {judgement.command('')}", ""]
    lines += _asked(judgement)
    return "\n".join([*lines, "", _verdict(judgement)])


def _verdict(judgement: Judgement) -> str:
    failed, passed = len(judgement.having(FAILED)), len(judgement.having(PASSED))
    count = len(judgement.outcomes)
    if judgement.passed:
        rest = f", {count - passed} unsupported" if count > passed else ""
        return f"RIGHT: {judgement.subject} is right in {passed} of {count} calls{rest}"
    if failed:
        return f"WRONG: {judgement.subject} fails in {failed} of {count} calls"
    return f"NOT JUDGED: {judgement.subject} passes in {passed} of {count} calls, {len(judgement.not_asked)} not asked"


def _reasons(judgement: Judgement) -> list[str]:
    failures = [outcome.reason for outcome in judgement.having(FAILED)]
    shown = [
        f"because {reason}" + (f" ({failures.count(reason)} calls)" if reason in failures else "")
        for reason in judgement.reasons[:_MOST_REASONS]
    ]
    more = len(judgement.reasons) - _MOST_REASONS
    return [*shown, *([f"and for {more} other reasons"] if more > 0 else [])]


def _failing(judgement: Judgement) -> list[str]:
    failing = judgement.failing
    if failing is None:
        return []
    alone = "" if judgement.smallest else ", only after other calls"
    lines = [f"smallest failing call{alone}: {failing.scenario.id}", f"  {described(failing)}"]
    if failing.where:
        lines += [f"  {line[:_LONGEST]}" for line in failing.where.splitlines()[-_MOST_LINES:]]
    again = judgement.replay(failing.scenario) if judgement.smallest else judgement.command("")
    return [*lines, f"replay: {again}"]


def described(outcome: Outcome) -> str:
    """Return what is wrong in one line."""
    mismatch = outcome.mismatch
    if mismatch is None:
        return outcome.reason
    place = ",".join(map(str, mismatch.index))
    error_ratio = mismatch.error / mismatch.budget if mismatch.budget else float("inf")
    return (
        f"{mismatch.array}[{place}] is {mismatch.got:.9g} instead of {mismatch.expected:.9g}, "
        f"off by {error_ratio:.3g} budgets; {mismatch.off} of {mismatch.size} numbers exceed theirs"
    )


def _asked(judgement: Judgement) -> list[str]:
    counts = ", ".join(f"{len(judgement.having(each))} {each}" for each in (PASSED, FAILED, UNSUPPORTED))
    lines = [
        f"calls: {counts}, {len(judgement.not_asked)} not asked; each asked twice, in {', '.join(judgement.dtypes)}"
    ]
    if judgement.worst_error_ratio is not None:
        ratios = (
            f"{judgement.worst_error_ratio:.3g} of its budget, the median over calls {judgement.median_error_ratio:.3g}"
        )
        lines.append(f"margin: the largest error of a call that passed is {ratios}")
    subject, truth = judgement.subject_seconds, judgement.oracle_seconds
    part = f", {truth / (subject + truth):.0%} of both" if truth else ""
    lines.append(f"time: subject {subject:.1f} s, truth {truth:.1f} s{part} (for information)")
    lines.append("truth: of all heads and rows, or of some with both sides of every tile edge where a call is large")
    refused = sorted(judgement.unsupported.items(), key=lambda item: -len(item[1]))
    for reason, scenarios in refused[:_MOST_LISTED]:
        lines.append(f"unsupported, {len(scenarios)} calls: {reason[:_LONGEST]}")
        lines += _listed([scenario.id for scenario in scenarios])
    if others := refused[_MOST_LISTED:]:
        calls = sum(len(scenarios) for _, scenarios in others)
        lines.append(f"unsupported, {calls} calls: for {len(others)} other reasons")
    if judgement.not_deterministic:
        lines.append("not deterministic: the second answer has other bits, within the budget, in")
        lines += _listed([scenario.id for scenario in judgement.not_deterministic])
    if failed := judgement.having(FAILED):
        lines.append("failed:")
        lines += _listed([f"{outcome.scenario.id}: {described(outcome)}" for outcome in failed])
    if judgement.not_asked:
        lines.append(f"not asked: {len(judgement.not_asked)} calls")
    return lines


def _listed(items: list[str]) -> list[str]:
    more = [f"  and {len(items) - _MOST_LISTED} more"] if len(items) > _MOST_LISTED else []
    return [f"  {item}" for item in items[:_MOST_LISTED]] + more
