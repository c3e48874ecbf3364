"""The result of `locate`: the errors of all tensors, the first wrong one and its cause; as text and as data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from attention_ref.conformance.divergence.cause import Cause
from attention_ref.conformance.divergence.comparison import TensorError

_COLUMNS = ("tensor", "of the target", "total", "inherited", "added")


@dataclass(frozen=True)
class Divergence:
    """The comparison of a target with a reference. `str()` of it is a report.

    Arguments:
        reference, target: their names.
        dtype: of the target.
        tensors: the errors of the tensors in the order of the forward pass, then those of their gradients in the order
            of the backward pass.
        cause: the first wrong tensor with its explanation; None if all are within their budgets.
        budget: where the budgets come from.
        unpaired: the tensors of the reference that the target does not have.
        notes: what could not be compared.
    """

    reference: str
    target: str
    dtype: str
    tensors: tuple[TensorError, ...]
    cause: Cause | None
    budget: str
    unpaired: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def is_equal(self) -> bool:
        """Whether both sides are equal within the budget, or that of float32 where the target computes in it."""
        return self.cause is None or (self.cause.is_in_single and not self.cause.findings)

    def to_json(self) -> dict[str, Any]:
        """Return data for `json.dumps`; an infinite share is the string `inf`."""
        data: dict[str, Any] = _finite({**asdict(self), "is_equal": self.is_equal})
        return data

    def __str__(self) -> str:
        lines = [*_summary(self), "", *_table(self.tensors), ""]
        lines += [f"A share of 1 is the budget of a tensor, from {self.budget}."]
        if self.unpaired:
            lines += [f"Not in the target, or not found there: {', '.join(self.unpaired)}."]
        return "\n".join([*lines, "", _verdict(self)])


def _summary(found: Divergence) -> list[str]:
    cause = found.cause
    notes = [f"note      {note}" for note in found.notes]
    if cause is None:
        return [_verdict(found), *notes]
    tensor = cause.tensor
    if found.is_equal:
        return [_verdict(found), f"precision {_words(tensor)} is the first that is computed so", *notes]
    lines = [
        _verdict(found),
        f"first     {_words(tensor)}, in the target {tensor.target}",
        f"layer     {cause.layer}, {tensor.direction} pass",
        f"error     {_parts(tensor)}; the largest difference is {tensor.error:.3g}",
        *_explanation(cause),
    ]
    steps = [each for each in found.tensors if each.direction == tensor.direction and each.is_wrong_in_single]
    others = [each for each in steps if each is not tensor and each.added is not None]
    lines += [f"then      other steps that add errors: {_some([each.name for each in others])}"] if others else []
    return lines + notes


def _explanation(cause: Cause) -> list[str]:
    if not cause.findings:
        return [f"cause     not explained{f': {cause.reason}' if cause.reason else ' by a known deviation'}"]
    lines = []
    for finding in cause.findings[:2]:
        lines += [f"cause     {finding.deviation}: {finding.sentence}", f"correct   {finding.correction}"]
    return lines


def _parts(tensor: TensorError) -> str:
    if tensor.added is None or tensor.inherited is None:
        return f"{_number(tensor.total)} times the budget; what is inherited is unknown"
    return (
        f"this step adds {_number(tensor.added)} times its budget; "
        f"inherited from its inputs {_number(tensor.inherited)} times the budget"
    )


def _verdict(found: Divergence) -> str:
    sides = f"{found.target} and {found.reference}"
    count = f"{len(found.tensors)} tensors" + (
        " and gradients" if any(each.direction == "backward" for each in found.tensors) else ""
    )
    if found.cause is None:
        worst = max((each.total for each in found.tensors), default=0.0)
        return f"EQUAL: {sides} are equal within budget in {count} in {found.dtype}; the largest share is {worst:.2g}"
    if found.is_equal:
        return (
            f"EQUAL: {sides} are equal within budget in {count}, if it is that of float32: the target's dtype is "
            f"{found.dtype}, but some of its steps compute in float32"
        )
    wrong = sum(not each.total <= 1 for each in found.tensors)
    return (
        f"DIFFERS: {found.target} differs from {found.reference} first in {_words(found.cause.tensor)}; "
        f"{wrong} of {count} are out of budget"
    )


def _words(tensor: TensorError) -> str:
    return tensor.name if tensor.direction == "forward" else f"the gradient of {tensor.name}"


def _table(tensors: Sequence[TensorError]) -> list[str]:
    rows: list[tuple[str, ...]] = [_COLUMNS]
    for each in tensors:
        shares = (each.total, each.inherited, each.added)
        rows.append((_words(each), each.target, *map(_number, shares)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    marks = ["", *("  <-- adds an error" if each.is_wrong_in_single else "" for each in tensors)]
    lines = []
    for row, mark in zip(rows, marks, strict=True):
        names = "  ".join(f"{text:{width}}" for text, width in zip(row[:2], widths[:2], strict=True))
        numbers = "  ".join(f"{text:>{width}}" for text, width in zip(row[2:], widths[2:], strict=True))
        lines.append(f"{names}  {numbers}{mark}")
    return lines


def _number(share: float | None) -> str:
    return "-" if share is None else "inf" if math.isinf(share) else f"{share:.3g}"


def _some(names: Sequence[str], most: int = 3) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _finite(data: Any) -> Any:
    if isinstance(data, dict):
        return {name: _finite(each) for name, each in data.items()}
    if isinstance(data, (list, tuple)):
        return [_finite(each) for each in data]
    return str(data) if isinstance(data, float) and not math.isfinite(data) else data
