"""The deviations that a search found, as findings."""

from __future__ import annotations

import numpy as np

from attention_ref.conformance.diagnosis.deviation_search import Combination, Search
from attention_ref.conformance.diagnosis.deviations import Deviation
from attention_ref.conformance.diagnosis.finding import Finding
from attention_ref.conformance.diagnosis.observation import Observation


def findings_of(search: Search, found: Combination) -> list[Finding]:
    """Return a finding for each deviation."""
    reproduced = search.explained(found)
    return [_finding(search, found, each, reproduced) for each in found]


def _finding(search: Search, found: Combination, deviation: type[Deviation], explained: set[int]) -> Finding:
    without = tuple(each for each in found if each is not deviation)
    needed = sorted(explained - search.explained(without))
    cases = [search.observations[place] for place in needed]
    simplest = min(cases, key=lambda each: (not each.results, len(each.case.call.named)))
    return Finding(
        deviation.slug,
        deviation.sentence(),
        deviation.clause,
        deviation.correction,
        tuple(each.case.id for each in cases),
        f"{simplest.case.id}: {mismatch(simplest)}",
    )


def mismatch(observation: Observation) -> str:
    """Describe the first element that is clearly wrong."""
    for name, expected in observation.case.expected.items():
        got = observation.results.get(name)
        if got is None:
            continue
        if got.shape != expected.values.shape:
            return f"{name} has the shape {got.shape} instead of {expected.values.shape}"
        off = ~np.isclose(got, expected.values, rtol=1e-6, atol=1e-12, equal_nan=True)
        if off.any():
            index = tuple(int(place) for place in np.argwhere(off)[0])
            return f"{name}{list(index)} is {got[index]:.6g} instead of {expected.values[index]:.6g}"
    return "rounding errors beyond the budget"
