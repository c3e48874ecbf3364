"""The size of rounding errors in many numbers at once.

The same sizes as those of `attention_ref.spec.trace.roundings`, for layers whose intermediates are thousands: the
record is read backwards once, with the adjoints of all numbers side by side, where the specification reads it once for
each number.
"""

from __future__ import annotations

from collections.abc import Sequence, Set

import numpy as np

from attention_ref.spec.trace import Cut, Rounding, Traced, ancestors, has_certain_sign


def roundings(outputs: Sequence[Traced]) -> list[Rounding]:
    """Return the size of the rounding errors of every output."""
    return _roundings(outputs, _passing(outputs))


def _passing(outputs: Sequence[Traced]) -> set[Cut]:
    """Return the cuts through which errors pass; whether one does depends on those before it."""
    depths: dict[Traced, int] = {}
    cuts: dict[int, list[Cut]] = {}
    for node in sorted(ancestors(outputs), key=lambda traced: traced.order):
        depths[node] = max((depths[parent] for parent, _ in node.parents), default=0)
        if isinstance(node, Cut):
            cuts.setdefault(depths[node], []).append(node)
            depths[node] += 1
    passing: set[Cut] = set()
    for _, level in sorted(cuts.items()):
        numbers = [node.parents[0][0] for node in level]
        sizes = zip(numbers, _roundings(numbers, passing), strict=True)
        passing |= {cut for cut, pair in zip(level, sizes, strict=True) if not has_certain_sign(*pair)}
    return passing


def _roundings(outputs: Sequence[Traced], passing: Set[Cut]) -> list[Rounding]:
    count = len(outputs)
    adjoints: dict[Traced, np.ndarray] = {}
    for column, output in enumerate(outputs):
        adjoints.setdefault(output, np.zeros(count))[column] = 1.0
    errors = {precision: np.zeros(count) for precision in ("arithmetic", "storage", "double")}
    sums = {precision: np.zeros(count) for precision in errors}
    for node in sorted(ancestors(outputs), key=lambda traced: traced.order, reverse=True):
        adjoint = adjoints.pop(node)
        size = node.units * abs(float(node.value))
        if size:
            errors[node.precision] = np.hypot(errors[node.precision], adjoint * size)
            sums[node.precision] += np.abs(adjoint)
        for parent, partial in node.parents:
            moved = adjoint * (float(partial) if not isinstance(node, Cut) else node in passing)
            adjoints[parent] = adjoints[parent] + moved if parent in adjoints else moved
    fields = (errors["arithmetic"], errors["storage"], sums["arithmetic"], sums["storage"], errors["double"])
    columns = zip(*fields, strict=True)
    return [Rounding(*map(float, column)) for column in columns]
