"""The smallest call that still fails: sizes first, then options, then the distribution."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

from attention_ref.conformance.judge.scenario import Scenario
from attention_ref.conformance.judge.trial import Outcome, Trial
from attention_ref.conformance.outcome import FAILED

MOST_CALLS, MOST_SECONDS = 200, 15.0

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
_PLAIN = {
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
    calls, is_smaller = 0, True
    while is_smaller:
        is_smaller = False
        for scenario in simpler(found.scenario):
            if calls >= MOST_CALLS or time.monotonic() > end or found.hangs:
                return found
            calls += 1
            outcome = trial.ask(scenario, failed.pattern)
            if outcome.verdict == FAILED and outcome.hangs == failed.hangs:
                found, is_smaller = outcome, True
                break
    return found


def simpler(s: Scenario) -> Iterator[Scenario]:
    """Return every call that is simpler in one respect, the simplest of each first."""
    for scenario in _smaller(s):
        if scenario.is_valid and scenario != s:
            yield scenario
    for name, plain in _PLAIN.items():
        if getattr(s, name) != plain:
            without = {name: plain, **({"offsets": ()} if name in ("causal", "window") else {})}
            scenario = replace(s, **without)  # type: ignore[arg-type]
            if scenario.is_valid:
                yield scenario


def _smaller(s: Scenario) -> Iterator[Scenario]:
    if s.batch > 1:
        for row in range(s.batch):
            offsets = s.offsets[row : row + 1] if len(s.offsets) == s.batch else s.offsets
            yield replace(s, batch=1, lengths=s.lengths[row : row + 1], offsets=offsets)
    for heads, groups in _HEADS:
        if heads < s.heads or (heads == s.heads and groups < s.groups):
            yield replace(s, heads=heads, groups=groups)
    for length in _LENGTHS:
        if length < min(s.queries, s.keys):
            yield from _resized(s, length, length)
    for length in _LENGTHS:
        if length < s.queries:
            yield from _resized(s, length, s.keys)
    for length in _LENGTHS:
        if length < s.keys:
            yield from _resized(s, s.queries, length)
    for size in _HEAD_SIZES:
        if size < s.head_size:
            yield replace(s, head_size=size)
    for size in _HEAD_SIZES:
        if size < s.value_size:
            yield replace(s, value_size=size)


def _resized(s: Scenario, queries: int, keys: int) -> Iterator[Scenario]:
    """Return the call with other lengths: its queries as far from the last key as before, or from the first."""
    lengths = tuple(min(length, keys) for length in s.lengths)
    moved = tuple(max(0, offset + keys - s.keys - queries + s.queries) for offset in s.offsets)
    for offsets in dict.fromkeys((moved, s.offsets)):
        yield replace(s, queries=queries, keys=keys, lengths=lengths, offsets=offsets)
