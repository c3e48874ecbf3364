"""A finding: one thing that a function computes instead of what the specification says."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """A deviation that was found.

    Arguments:
        deviation: its slug.
        sentence: what the function computes instead.
        clause: the id of the clause that it breaks.
        correction: what to write instead.
        cases: the ids of the cases whose numbers it is needed for.
        example: one number of one of these cases.
    """

    deviation: str
    sentence: str
    clause: str
    correction: str
    cases: tuple[str, ...]
    example: str = ""
