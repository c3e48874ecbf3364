"""Format numbers and lists for reports of every format."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from attention_ref.conformance.outcome import Mismatch, Result
from attention_ref.spec.dtypes import DTYPES


def ratio(error: float) -> str:
    """Format an error / budget."""
    if math.isinf(error):
        return "inf"
    return f"{error:.2f}" if error < 1000 else f"{error:.1e}"


def short_ratio(error: float) -> str:
    """Format an error / budget in at most five characters."""
    if math.isinf(error):
        return "∞"
    return ratio(error) if error < 100 else f"{error:.0f}" if error < 1000 else f"{error:.0e}".replace("e+0", "e")


def count(number: int, noun: str) -> str:
    """Format a number with its noun: 1 case, 2 cases."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def listed(words: Iterable[str], last: str = "and") -> str:
    """Join words: a, b and c."""
    *first, end = [*words] or [""]
    return f"{', '.join(first)} {last} {end}" if first else end


def found(result: Result) -> Iterator[str]:
    """Describe a failed result in a few lines: the element with the largest error, or the reason."""
    if result.mismatch is None or result.wrong_dtype:
        yield result.reason
        if result.has_right_values and result.error_ratio is not None:
            yield f"its values are right, within {ratio(result.error_ratio)} of their budget"
        yield from (f"    {line}" for line in result.where.splitlines())
    if result.mismatch is not None:
        yield from _numbers(result.mismatch, DTYPES[result.dtype].digits)


def place(mismatch: Mismatch) -> str:
    """Return the name of the element with the largest error, such as `output[0, 1, 2, 0]`."""
    return f"{mismatch.array}[{', '.join(map(str, mismatch.index))}]"


def _numbers(mismatch: Mismatch, digits: int) -> Iterator[str]:
    first = "the first intermediate that differs is " if mismatch.is_tap else ""
    yield f"{first}{place(mismatch)}: expected {mismatch.expected:.{digits}g}, got {mismatch.got:.{digits}g}"
    yield f"{error(mismatch)}; {mismatch.off} of {mismatch.size} numbers are off"


def error(mismatch: Mismatch) -> str:
    """Describe an error with its budget."""
    if not math.isfinite(mismatch.error):
        return "one of the two is not finite"
    if mismatch.budget == 0:
        return f"error {mismatch.error:.3g} where the number is exact"
    of_budget = ratio(mismatch.error / mismatch.budget)
    return f"error {mismatch.error:.3g}, {of_budget} times the budget {mismatch.budget:.3g}"
