"""Compare the version of a library with the range that a dialect was measured with."""

from __future__ import annotations

import re
from itertools import zip_longest

_BOUND = re.compile(r"\s*(>=|<=|>|<|==)\s*(\d+(?:\.\d+)*)\s*")


def is_within(version: str, wanted: str) -> bool:
    """Return whether a version lies in a range such as `">=2.5,<2.14"`; an empty range has all versions.

    Raises:
        ValueError: if it is not a range.
    """
    return all(_holds(version, bound) for bound in wanted.split(",") if bound.strip())


def _holds(version: str, bound: str) -> bool:
    found = _BOUND.fullmatch(bound)
    if found is None:
        raise ValueError(f"{bound.strip()!r} is not a version bound such as >=2.5")
    sign, than = found[1], _compare(_numbers(version), _numbers(found[2]))
    return {">=": than >= 0, "<=": than <= 0, ">": than > 0, "<": than < 0, "==": than == 0}[sign]


def _numbers(version: str) -> list[int]:
    leading = re.match(r"\d+(?:\.\d+)*", version)
    return [int(number) for number in leading[0].split(".")] if leading else []


def _compare(first: list[int], second: list[int]) -> int:
    for one, other in zip_longest(first, second, fillvalue=0):
        if one != other:
            return 1 if one > other else -1
    return 0
