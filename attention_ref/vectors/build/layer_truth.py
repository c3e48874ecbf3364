"""The truth of what is configured: positional codes, linear maps, normalisations, activations and layers.

The specification runs once on `Traced(mpf)`. A layer's taps are told on the way: every intermediate has its own
expected values and rounding sizes. A layer that decodes in chunks is expected to give what one call gives.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from attention_ref.spec import Array
from attention_ref.vectors.build import rounding_sizes
from attention_ref.vectors.build.attention_truth import Result, inexact, precise, rounded
from attention_ref.vectors.call import Call


class Solution(NamedTuple):
    """What a call returns, and what its taps are told, each by name and in order."""

    returned: dict[str, Result]
    taps: dict[str, Result]


def solve(call: Call) -> Solution:
    """Return the truth of a call."""
    taps: dict[str, Array] = {}
    returned = call.specified(precise, tap=taps.__setitem__)
    found = _results({"": returned, "tap": {} if call.chunks else taps})
    return Solution(found[""], found["tap"])


def _results(groups: Mapping[str, Mapping[str, Array]]) -> dict[str, dict[str, Result]]:
    """Round all arrays, with the sizes of all their errors found together."""
    places = {(kind, name): inexact(array) for kind, arrays in groups.items() for name, array in arrays.items()}
    numbers = [groups[kind][name].values[place] for (kind, name), own in places.items() for place in own]
    sizes = iter(rounding_sizes.roundings(numbers))
    return {
        kind: {
            name: rounded(array, {place: next(sizes) for place in places[kind, name]}) for name, array in own.items()
        }
        for kind, own in groups.items()
    }
