"""Calls to ask instead of one that a subject refuses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from attention_ref.conformance.dialects.dialect import Limits
from attention_ref.conformance.judge.scenario import Scenario
from attention_ref.conformance.judge.scenarios import ANY

_COMMON = (64, 128)
"""Head sizes that most kernels take."""


def substitutes(scenario: Scenario, options: frozenset[str] | None, limits: Limits = ANY) -> Iterator[Scenario]:
    """Return calls to ask instead of one that is refused: with sizes and heads that more kernels take."""
    s, head_sizes = scenario, limits.head_sizes
    common = [size for size in _COMMON if size in head_sizes] or head_sizes[:2] or _COMMON
    sizes = [(size, size) for size in (s.head_size, *common)]
    for groups in dict.fromkeys((s.groups, s.heads)):
        for head_size, value_size in sizes:
            found = replace(s, groups=groups, head_size=head_size, value_size=value_size)
            if found != scenario:
                yield found
    if s.queries > 1 and (options is None or "causal" in options):
        yield _prompt(s)


def _prompt(s: Scenario) -> Scenario:
    """Return a call with its options in which as many queries as keys see none after them, as decoders have it."""
    length, left = min(s.queries, s.keys), s.window[0] if s.window else None
    return replace(
        s,
        queries=length,
        keys=length,
        causal=True,
        offsets=(),
        window=None if left is None else (left, None),
        lengths=tuple(min(each, length) for each in s.lengths),
        groups=s.heads,
        value_size=s.head_size,
    )
