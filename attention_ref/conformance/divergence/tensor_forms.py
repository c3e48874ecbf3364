"""The layouts that one tensor can have: heads split or merged, the length before the heads, the batch second."""

from __future__ import annotations

import math
from itertools import accumulate
from operator import mul
from typing import NamedTuple

import numpy as np

Shape = tuple[int, ...]


class Form(NamedTuple):
    """The layout of a target's tensor in comparison to the reference's.

    The target's array is reshaped to `split`, its axes are brought into `order`, and the result is reshaped to
    `reference`.
    """

    reference: Shape
    target: Shape
    split: Shape
    order: tuple[int, ...]

    def to_reference(self, array: np.ndarray) -> np.ndarray:
        """Return the target's array in the reference's layout."""
        return array.reshape(self.split).transpose(self.order).reshape(self.reference)

    def to_target(self, array: np.ndarray) -> np.ndarray:
        """Return the reference's array in the target's layout."""
        ordered = array.reshape(tuple(self.split[axis] for axis in self.order))
        return ordered.transpose(tuple(np.argsort(self.order))).reshape(self.target)

    @property
    def is_same(self) -> bool:
        """Whether both have the same layout."""
        return self.reference == self.target and self.order == tuple(range(len(self.order)))


def forms(reference: Shape, target: Shape) -> list[Form]:
    """Return the layouts by which a tensor of the shape `target` can be one of the shape `reference`.

    reference      target
    (b,l,m)        (b,l,m), (b*l,m), (l,b,m), (b,l,h,d), (b,h,l,d)
    (b,h,l,d)      (b,h,l,d), (b*h,l,d), (b,l,h,d), (b,l,h*d), (b*l,h*d)
    """
    if math.prod(reference) != math.prod(target) or not math.prod(reference):
        return []
    found = []
    if _merges(reference, target) or _merges(target, reference):
        found.append(Form(reference, target, target, tuple(range(len(target)))))
    if len(reference) == 4:
        b, h, length, d = reference
        if _merges((b, length, h, d), target):
            found.append(Form(reference, target, (b, length, h, d), (0, 2, 1, 3)))
    if len(reference) == 3:
        b, length, m = reference
        if target == (length, b, m):
            found.append(Form(reference, target, target, (1, 0, 2)))
        if len(target) == 4 and target[0] == b and target[2] == length and target[1] * target[3] == m:
            found.append(Form(reference, target, target, (0, 2, 1, 3)))
    return found


def _merges(full: Shape, merged: Shape) -> bool:
    """Return whether `merged` is `full` with neighbouring axes merged; axes of size 1 do not count."""
    ends, others = (set(accumulate((size for size in shape if size > 1), mul)) for shape in (full, merged))
    return others <= ends
