"""Test a law on a subject: draw, call, compare, and record the smallest calls that break it."""

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
"""If the subject supports none of this many first calls, the law is unsupported."""


Attempt = Callable[[Pick], None]


@dataclass(frozen=True, eq=False)
class LawResult:
    """The result of one law in one dtype.

    Arguments:
        law, operation, dtype: the tested law, operation and dtype.
        verdict: `"holds"`, `"fails"` or `"unsupported"`.
        examples: the number of drawn calls until the verdict.
        error_ratio: the largest error / budget, if the law holds.
        reason: why it is unsupported, or a note of hypothesis.
        outcome: the smallest calls that break the law, with their results.
    """

    law: Law
    operation: str
    dtype: str
    verdict: str
    examples: int = 0
    error_ratio: float | None = None
    reason: str = ""
    outcome: Outcome | None = None


@dataclass
class _Record:
    """The record of a test of a law."""

    examples: int = 0
    error_ratio: float = 0.0
    reasons: dict[str, int] = field(default_factory=dict)
    broken: Outcome | None = None

    def note(self, outcome: Outcome) -> None:
        self.examples += self.broken is None  # later outcomes shrink the counterexample
        if outcome.holds:
            self.error_ratio = max(self.error_ratio, outcome.error_ratio)
        else:
            self.broken = outcome

    def refuse(self, reason: str) -> None:
        self.reasons[reason] = self.reasons.get(reason, 0) + 1
        if not self.examples and sum(self.reasons.values()) >= _MOST_REFUSALS:
            raise SkipTest("none of the drawn calls is supported")


class _Raises(Broken):
    """A call of the subject failed."""


class _Differs(Broken):
    """A demand is violated."""


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
    """Test a law on calls that hypothesis draws.

    Arguments:
        subject: the subject to call.
        law: the law to test.
        operation: the operation of the subject to test.
        dtype: the dtype of the arrays.
        examples: the number of drawn calls, half of them small; shrinking a counterexample draws more.
        seed: the same seed draws the same calls.
        drawn: the options that calls may have besides those that the law needs; if None, all of the subject.

    Raises:
        UsageError: if hypothesis is not installed.
    """
    available = offers(subject, operation)
    if missing := [name for name in law.needs if name not in available]:
        return LawResult(law, operation, dtype, UNSUPPORTED, reason=f"no argument {', '.join(missing)}")
    record, note, half = _Record(), "", examples // 2
    allowed = available | {GROUPS, EMPTY_ROWS} if drawn is None else drawn
    for count, limits in (
        (examples - half, FEW),
        (half, MANY),
    ):  # small calls first: a counterexample is then small before shrinking
        if count and record.broken is None:
            number = zlib.crc32(f"{seed}/{operation}/{law.id}/{limits['k']}".encode())
            draws = partial(Draw, operation=operation, offered=allowed, limits=limits)
            note = search(_attempt(subject, law, dtype, draws, record), record.refuse, count, number)
    return _result(law, operation, dtype, record, note)


def _attempt(subject: Subject, law: Law, dtype: str, draws: Callable[[Pick], Draw], record: _Record) -> Attempt:
    """Return a function that tests a law once, records the outcome, and raises `Broken` if the law is broken."""

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
    """Return the options that both the specification and the subject have.

    A layer is configured when it is built, so missing options show only in its calls.
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
        return LawResult(law, operation, dtype, UNSUPPORTED, reason=next(iter(reasons), "no call could be drawn"))
    return LawResult(law, operation, dtype, HOLDS, record.examples, record.error_ratio)
