"""A judgement as text: the verdict and what to do about it first, then what was asked, then the verdict again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attention_ref.conformance.judge.trial import Outcome
from attention_ref.conformance.outcome import FAILED, PASSED, UNSUPPORTED

if TYPE_CHECKING:
    from attention_ref.conformance.judge.judgement import Judgement

_MOST_REASONS, _MOST_LISTED, _MOST_LINES, _LONGEST = 2, 8, 2, 150


def write(judgement: Judgement) -> str:
    """Return the text."""
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
    share = mismatch.error / mismatch.budget if mismatch.budget else float("inf")
    return (
        f"{mismatch.array}[{place}] is {mismatch.got:.9g} instead of {mismatch.expected:.9g}, "
        f"off by {share:.3g} budgets; {mismatch.off} of {mismatch.size} numbers exceed theirs"
    )


def _asked(judgement: Judgement) -> list[str]:
    counts = ", ".join(f"{len(judgement.having(each))} {each}" for each in (PASSED, FAILED, UNSUPPORTED))
    lines = [
        f"calls: {counts}, {len(judgement.not_asked)} not asked; each asked twice, in {', '.join(judgement.dtypes)}"
    ]
    if judgement.worst_share is not None:
        lines.append(f"margin: the largest error of a call that passed is {judgement.worst_share:.3g} of its budget")
    lines.append(
        f"time: subject {judgement.subject_seconds:.1f} s, truth {judgement.oracle_seconds:.1f} s (for information)"
    )
    lines.append("truth: of all heads and rows, or of some with both sides of every tile edge where a call is large")
    for reason, scenarios in judgement.unsupported.items():
        lines.append(f"unsupported, {len(scenarios)} calls: {reason[:_LONGEST]}")
        lines += _listed([scenario.id for scenario in scenarios])
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
