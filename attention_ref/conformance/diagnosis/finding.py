"""A finding: one deviation of a function from the specification."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """A deviation that was found.

    Arguments:
        deviation: the slug of the deviation.
        sentence: what the function computes instead, as a sentence.
        clause: the id of the violated clause.
        correction: how to correct it.
        cases: the ids of the cases that cannot be reproduced without it.
        example: a wrong element in one of these cases.
    """

    deviation: str
    sentence: str
    clause: str
    correction: str
    cases: tuple[str, ...]
    example: str = ""
