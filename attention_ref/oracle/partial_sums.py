"""The rounding errors of a sum that is added from its first term to its last.

Each addition rounds a partial sum `S_2, ..., S_n`, so the squared size of the errors is `S_2^2 + ... + S_n^2`. Matrix
products give sums over parts of the terms, and their sums of squares, but no partial sums within a part. In a part of
`n` terms with sum `U` and sum of squares `Q`, added to `S` in random order, the expected partial sum after `p` terms is

    E (S + U_p)^2 = S^2 + 2 S U p/n + Q p/n + (U^2 - Q) p (p - 1) / (n (n - 1))

and the sum over `p = 1, ..., n` is `n S^2 + (n + 1) (S U + U^2 / 3 + Q / 6)`. With one term in each part this is exact.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from attention_ref.oracle.result import Array

PARTS = 8
"""The number of parts of a sum. The terms of each part count as shuffled."""

BLOCK = 32
"""The smallest number of terms that fused backward passes add before they store a gradient in the tensors' dtype."""


class PartialSums:
    """Sums of one shape, to which parts of their terms are added in order.

    `total` is the sum of all terms so far, `squares` the sum of their squares, `count` their number.
    """

    def __init__(self, *shape: int) -> None:
        self.total, self.squares, self.count, self._partial = (np.zeros(shape) for _ in range(4))

    def add(self, total: Any, squares: Any, count: Any) -> None:
        """Add a part of `count` terms with the sum `total` and the sum of squares `squares`.

        Each of them broadcasts to the shape of the sums; `count` is 0 where a sum has no term in this part.
        """
        self._partial += (count + 1) * (self.total * total + total * total / 3 + squares / 6)
        self._partial += count * self.total * self.total
        self.total += total
        self.squares += squares
        self.count += count

    def __getitem__(self, index: Any) -> PartialSums:
        """Return some of the sums; what is added to them is added here."""
        some = PartialSums.__new__(PartialSums)
        some.total, some.squares, some.count = self.total[index], self.squares[index], self.count[index]
        some._partial = self._partial[index]
        return some

    def error(self) -> Array:
        """Return the squared size of the rounding errors: that of all partial sums but the first, which is a term."""
        return np.maximum(self._partial - self.squares / np.maximum(self.count, 1), 0)


def part_length(length: int) -> int:
    """Return how many of `length` terms make a part."""
    return max(1, -(-length // PARTS))


def parts(length: int) -> list[slice]:
    """Divide `length` terms into at most `PARTS` parts."""
    step = part_length(length)
    return [slice(start, min(start + step, length)) for start in range(0, length, step)]


def reverse_parts(length: int) -> Iterator[slice]:
    """Divide as `parts`, from the last to the first: adjoints are added in the order opposite to the formula's."""
    return reversed(parts(length))


def products(left: Array, right: Array, order: Iterator[slice] | list[slice]) -> PartialSums:
    """Add up the inner products `left @ right.T` over the parts of the last axis.

    Arguments:
        left: `(q,n)`.
        right: `(k,n)`.
        order: the parts of `n`.

    Returns:
        Sums of the shape `(q,k)`. Each term is a product whose rounding counts `squares`.
    """
    sums = PartialSums(len(left), len(right))
    left_squared, right_squared = left**2, right**2
    for part in order:
        squares = left_squared[:, part] @ right_squared[:, part].T
        sums.add(left[:, part] @ right[:, part].T, squares, part.stop - part.start)
    return sums


def weighted(weights: Array, rows: Array, present: Array, order: Iterator[slice] | list[slice]) -> PartialSums:
    """Add up `weights @ rows` over the parts of the keys.

    Arguments:
        weights: `(q,k)`; 0 where there is no term.
        rows: `(k,n)`.
        present: boolean `(q,k)`: which products are terms of the sum.
        order: the parts of `k`.

    Returns:
        Sums of the shape `(q,n)`.
    """
    sums = PartialSums(len(weights), rows.shape[1])
    weights_squared, rows_squared = weights**2, rows**2
    for part in order:
        count = np.count_nonzero(present[:, part], axis=1, keepdims=True)
        sums.add(weights[:, part] @ rows[part], weights_squared[:, part] @ rows_squared[part], count)
    return sums


def along_rows(terms: Array, present: Array, order: Iterator[slice] | list[slice]) -> PartialSums:
    """Add up the terms `(q,k)` of every row, in the parts of `k`; sums of the shape `(q,1)`."""
    return weighted(terms, np.ones((terms.shape[1], 1)), present, order)
