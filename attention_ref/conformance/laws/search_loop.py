"""Trying a law on a subject: draw, call, compare, and keep the smallest calls that break it."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Container
from dataclasses import dataclass, field
from functools import partial
from unittest import SkipTest

from attention_ref.conformance.laws.evaluate import Outcome, tried
from attention_ref.conformance.laws.law import Law, Trial
from attention_ref.conformance.laws.search import Broken, search
from attention_ref.conformance.laws.strategies import EMPTY_ROWS, FEW, GROUPS, MANY, Draw, Pick, Rejected
from attention_ref.conformance.signatures import options_of, signed
from attention_ref.conformance.subjects.subject import Subject
from attention_ref.spec.operations import OPERATIONS
from attention_ref.vectors.call import Call

HOLDS, FAILS, UNSUPPORTED = "holds", "fails", "unsupported"
_MOST_REFUSALS = 40
"""After so many calls of which the subject has offered none, a law is unsupported."""


Attempt = Callable[[Pick], None]


@dataclass(frozen=True, eq=False)
class LawResult:
    """What came of one law in one dtype.

    Arguments:
        law, operation, dtype: what was tried.
        verdict: `"holds"`, `"fails"` or `"unsupported"`.
        examples: how many drawn calls were tried until it was known.
        share: the worst error over its budget, where the law holds.
        reason: why it is unsupported, or what hypothesis found strange.
        outcome: the smallest calls that break the law, with what came.
    """

    law: Law
    operation: str
    dtype: str
    verdict: str
    examples: int = 0
    share: float | None = None
    reason: str = ""
    outcome: Outcome | None = None


@dataclass
class _Record:
    """What was seen while a law was tried."""

    examples: int = 0
    share: float = 0.0
    reasons: dict[str, int] = field(default_factory=dict)
    broken: Outcome | None = None

    def note(self, outcome: Outcome) -> None:
        self.examples += self.broken is None  # what comes later makes the broken one smaller
        if outcome.holds:
            self.share = max(self.share, outcome.share)
        else:
            self.broken = outcome

    def refuse(self, reason: str) -> None:
        self.reasons[reason] = self.reasons.get(reason, 0) + 1
        if not self.examples and sum(self.reasons.values()) >= _MOST_REFUSALS:
            raise SkipTest("nothing that is drawn is offered")


class _Raises(Broken):
    """A call of the subject failed."""


class _Differs(Broken):
    """A demand is not met."""


def run_law(
    subject: Subject,
    law: Law,
    operation: str,
    dtype: str,
    *,
    examples: int,
    seed: int,
    drawn: Container[str] | None = None,
) -> LawResult:
    """Try a law on calls that hypothesis draws.

    Arguments:
        subject: what is called.
        law: what must hold.
        operation: which of the subject's operations is tried.
        dtype: of its arrays.
        examples: how many calls are drawn, half of them small; more where a law breaks, to make the call smaller.
        seed: the same seed draws the same calls.
        drawn: what the calls may have beside what the law needs; everything that the subject has when None.

    Raises:
        UsageError: without hypothesis.
    """
    there = offers(subject, operation)
    if missing := [name for name in law.needs if name not in there]:
        return LawResult(law, operation, dtype, UNSUPPORTED, reason=f"no argument {', '.join(missing)}")
    record, note, half = _Record(), "", examples // 2
    allowed = there | {GROUPS, EMPTY_ROWS} if drawn is None else drawn
    for count, limits in (examples - half, FEW), (half, MANY):  # what breaks on a small call is shown on a small one
        if count and record.broken is None:
            number = zlib.crc32(f"{seed}/{operation}/{law.id}/{limits['k']}".encode())
            draws = partial(Draw, operation=operation, offered=allowed, limits=limits)
            note = search(_attempt(subject, law, dtype, draws, record), record.refuse, count, number)
    return _result(law, operation, dtype, record, note)


def _attempt(subject: Subject, law: Law, dtype: str, draws: Callable[[Pick], Draw], record: _Record) -> Attempt:
    """Return what tries a law once, notes the outcome, and raises where the law is broken."""

    def attempt(pick: Pick) -> None:
        trial = _trial(law, draws(pick))
        if not all(each.is_exact_in(dtype) for each in trial.calls):
            raise Rejected
        outcome = tried(subject, trial, dtype)
        record.note(outcome)
        if outcome.fault is not None:
            raise _Raises
        if not outcome.holds:
            raise _Differs

    return attempt


def _trial(law: Law, draw: Draw) -> Trial:
    trial = law.trial(draw)
    if EMPTY_ROWS not in draw.offered and law.about != EMPTY_ROWS and any(map(_has_empty_rows, trial.calls)):
        raise Rejected
    return trial


def offers(subject: Subject, operation: str) -> frozenset[str]:
    """Return the options that the specification knows and the subject has.

    A layer has its options when it is built; what it lacks shows when it is called.
    """
    table = OPERATIONS[operation]
    if table.is_layer:
        return frozenset()
    known = frozenset(table.options)
    accepted = options_of(signed(subject.operations[operation]), len(table.positional))
    return known if accepted is None else known & accepted


def _has_empty_rows(call: Call) -> bool:
    return call.config is None and not call.visible().any(axis=-1).all()


def _result(law: Law, operation: str, dtype: str, record: _Record, note: str) -> LawResult:
    if record.broken is not None:
        return LawResult(law, operation, dtype, FAILS, record.examples, reason=note, outcome=record.broken)
    if not record.examples:
        reasons = sorted(record.reasons, key=lambda reason: -record.reasons[reason])
        return LawResult(law, operation, dtype, UNSUPPORTED, reason=next(iter(reasons), "nothing could be drawn"))
    return LawResult(law, operation, dtype, HOLDS, record.examples, record.share)
