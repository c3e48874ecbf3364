"""The error of every tensor of a target: inherited from its inputs, and added by the step that computes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from attention_ref.conformance.divergence.alignment import Pair
from attention_ref.conformance.divergence.padding import Blank
from attention_ref.conformance.divergence.recording import Arrays
from attention_ref.conformance.divergence.spread import budget


@dataclass(frozen=True)
class TensorError:
    """The error of one tensor, or of its gradient.

    Arguments:
        name, target: the names of the tensor on both sides.
        direction: forward for the tensor itself, backward for its gradient.
        error: the largest absolute error.
        total: the largest share of the error in its budget, errors of everything before it included.
        inherited: the largest share of the error that its inputs bring; None where it is unknown.
        added: the largest share of the error that the step adds to inputs without error, in the budget of that step
            alone; None where it is unknown.
        added_in_single: the same with the budget of float32.
    """

    name: str
    target: str
    direction: str
    error: float
    total: float
    inherited: float | None = None
    added: float | None = None
    added_in_single: float | None = None

    @property
    def is_wrong(self) -> bool:
        """Whether the step itself adds more than rounding errors or, where that is unknown, the tensor has more."""
        return not (self.total if self.added is None else self.added) <= 1

    @property
    def is_wrong_in_single(self) -> bool:
        """The same if its arithmetic is that of float32."""
        return self.is_wrong and not (self.total if self.added_in_single is None else self.added_in_single) <= 1


@dataclass(frozen=True)
class Sides:
    """The arrays that are compared.

    Arguments:
        reference, target: the tensors of both sides.
        renewed: those of the side that was given the other side's tensors as inputs of every step; empty if neither
            side can be given them.
        is_target_renewed: whether that side is the target.
        sizes: the expected error of each tensor in units of roundoff.
        step_sizes: the same of one step alone.
        blank: sets padding to 0.
    """

    reference: Arrays
    target: Arrays
    renewed: Arrays
    is_target_renewed: bool
    sizes: Arrays
    step_sizes: Arrays
    blank: Blank


def compare(pairs: list[Pair], sides: Sides, direction: str, unit: float, single: float) -> list[TensorError]:
    """Compare every pair.

    Arguments:
        pairs: the tensors that belong together.
        sides: their values.
        direction: as in `TensorError`.
        unit: the roundoff of both sides together.
        single: the same if the target computed in float32.
    """
    return [
        _compare(pair, sides, direction, unit, single)
        for pair in pairs
        if pair.reference in sides.reference and pair.target in sides.target
    ]


def _compare(pair: Pair, sides: Sides, direction: str, unit: float, single: float) -> TensorError:
    expected = sides.reference[pair.reference]
    got = pair.form.to_reference(sides.target[pair.target])
    sizes = sides.sizes.get(pair.reference, np.zeros_like(expected))
    total = sides.blank(pair.reference, difference(got, expected))
    found: dict[str, Any] = {
        "name": pair.reference,
        "target": pair.target,
        "direction": direction,
        "error": float(np.abs(total).max()),
        "total": share(total, sizes, unit),
    }
    other = _renewed(pair, sides)
    if other is None:
        return TensorError(**found)
    added = difference(other, expected) if sides.is_target_renewed else difference(got, other)
    added = sides.blank(pair.reference, added)
    step = sides.step_sizes.get(pair.reference, sizes)
    with np.errstate(invalid="ignore"):
        inherited = np.nan_to_num(total - added, nan=np.inf)
    shares: dict[str, Any] = {"inherited": share(inherited, sizes, unit), "added": share(added, step, unit)}
    return TensorError(**found, **shares, added_in_single=share(added, step, single))


def _renewed(pair: Pair, sides: Sides) -> np.ndarray | None:
    if sides.is_target_renewed:
        found = sides.renewed.get(pair.target)
        return None if found is None else pair.form.to_reference(found)
    return sides.renewed.get(pair.reference)


def difference(got: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Return the errors; equal infinities and NaN at the same place are none, others are infinite errors."""
    with np.errstate(invalid="ignore"):
        error = got - expected
    is_equal = (got == expected) | (np.isnan(got) & np.isnan(expected))
    return np.where(is_equal, 0.0, np.where(np.isnan(error), np.inf, error))


def share(error: np.ndarray, sizes: np.ndarray, unit: float) -> float:
    """Return the largest share of an error in its budget, which is that of errors of these sizes."""
    allowed = budget(sizes, unit)
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = np.where(error == 0, 0.0, np.abs(error) / allowed)
    return float(shares.max(initial=0.0))
