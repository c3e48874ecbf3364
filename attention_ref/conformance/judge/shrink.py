"""The smallest call that still fails: sizes first, then options, then the distribution."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from attention_ref.conformance.judge.scenario import Scenario
from attention_ref.conformance.judge.trial import Outcome, Trial
from attention_ref.conformance.outcome import FAILED

MOST_CALLS, MOST_SECONDS = 400, 15.0

_LENGTHS = (
    1,
    2,
    3,
    5,
    8,
    9,
    15,
    16,
    17,
    24,
    31,
    32,
    33,
    48,
    63,
    64,
    65,
    96,
    127,
    128,
    129,
    192,
    255,
    256,
    257,
    320,
    511,
)
_HEADS = ((1, 1), (2, 1), (2, 2), (4, 1), (4, 2), (4, 4))
_HEAD_SIZES = (16, 24, 32, 64, 80, 128)
_UNEVEN_HEAD_SIZES = (1, 2, 3, 4, 7, 12, 17, 20, 33, 50, 100)
"""Where it fails at no multiple of 8."""
_PLAIN = {
    "gradients": False,
    "returns": (),
    "dropout": 0.0,
    "sinks": False,
    "softcap": None,
    "scale": None,
    "bias": "",
    "mask": "",
    "lengths": (),
    "window": None,
    "offsets": (),
    "causal": False,
    "distribution": "normal",
}


def smallest(trial: Trial, failed: Outcome) -> Outcome | None:
    """Return the failure of the smallest call that was found; None where the call does not fail alone."""
    end = time.monotonic() + MOST_SECONDS
    found = trial.ask(failed.scenario, failed.pattern)
    if found.verdict != FAILED:
        return None
    calls, before = 0, None
    while before != found.scenario:
        before = found.scenario
        for respect in RESPECTS:
            for scenario in respect(found.scenario):
                if not scenario.is_valid or scenario == found.scenario:
                    continue
                if calls >= MOST_CALLS or time.monotonic() > end or found.hangs:
                    return found
                calls += 1
                outcome = trial.ask(scenario, failed.pattern)
                if outcome.verdict == FAILED and _kind(outcome) == _kind(failed):
                    found = outcome
                    break
    return found


def _kind(outcome: Outcome) -> tuple[bool, bool]:
    """Return what sort of a failure it is: a smaller call that fails otherwise shows something else."""
    return outcome.hangs, outcome.mismatch is None


def _batch(s: Scenario) -> Iterator[Scenario]:
    for row in range(s.batch) if s.batch > 1 else ():
        offsets = s.offsets[row : row + 1] if len(s.offsets) == s.batch else s.offsets
        yield replace(s, batch=1, lengths=s.lengths[row : row + 1], offsets=offsets)


def _heads(s: Scenario) -> Iterator[Scenario]:
    for heads, groups in _HEADS:
        if (heads, groups) < (s.heads, s.groups) and groups <= s.groups:
            yield replace(s, heads=heads, groups=groups)


def _lengths(s: Scenario) -> Iterator[Scenario]:
    for length in _LENGTHS:
        if length < min(s.queries, s.keys):
            yield from _resized(s, length, length)


def _queries(s: Scenario) -> Iterator[Scenario]:
    for length in _LENGTHS:
        if length < s.queries:
            yield from _resized(s, length, s.keys)


def _keys(s: Scenario) -> Iterator[Scenario]:
    for length in _LENGTHS:
        if length < s.keys:
            yield from _resized(s, s.queries, length)


def _head_size(s: Scenario) -> Iterator[Scenario]:
    yield from (replace(s, head_size=size) for size in _simpler_sizes(s.head_size))


def _value_size(s: Scenario) -> Iterator[Scenario]:
    yield from (replace(s, value_size=size) for size in _simpler_sizes(s.value_size))


def _simpler_sizes(size: int) -> list[int]:
    """Return smaller head sizes; in place of one that is no multiple of 8, any multiple first."""
    if size % 8 == 0:
        return [each for each in _HEAD_SIZES if each < size]
    return [*_HEAD_SIZES, *(each for each in _UNEVEN_HEAD_SIZES if each < size)]


def _without(name: str, plain: object) -> Callable[[Scenario], Iterator[Scenario]]:
    def simpler(s: Scenario) -> Iterator[Scenario]:
        if getattr(s, name) != plain:
            yield replace(s, **{name: plain})  # type: ignore[arg-type]
            if name in ("causal", "window"):
                yield replace(s, **{name: plain, "offsets": ()})  # type: ignore[arg-type]

    return simpler


RESPECTS = (
    *(_batch, _heads, _lengths, _queries, _keys, _head_size, _value_size),
    *(_without(name, plain) for name, plain in _PLAIN.items()),
)
"""In each respect the calls that are simpler than a call, the simplest first."""


def _resized(s: Scenario, queries: int, keys: int) -> Iterator[Scenario]:
    """Return the call with other lengths: its queries as far from the last key as before, or from the first."""
    lengths = tuple(min(length, keys) for length in s.lengths)
    moved = tuple(max(0, offset + keys - s.keys - queries + s.queries) for offset in s.offsets)
    for offsets in dict.fromkeys((moved, s.offsets)):
        yield replace(s, queries=queries, keys=keys, lengths=lengths, offsets=offsets)
