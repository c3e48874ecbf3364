"""The cause of the first wrong tensor: its layer as a call, given to the diagnosis with what the target returned."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from attention_ref.conformance.diagnosis import Explanation, explain_call
from attention_ref.conformance.diagnosis.finding import Finding
from attention_ref.conformance.divergence.alignment import Pair
from attention_ref.conformance.divergence.comparison import TensorError
from attention_ref.conformance.divergence.layer_calls import calls, model_of
from attention_ref.conformance.divergence.model_layers import ModelLayer, layer_of, model_layers
from attention_ref.conformance.divergence.recording import Arrays, Recorder
from attention_ref.conformance.divergence.room_recorder import RoomRecorder
from attention_ref.spec.dtypes import DTYPES
from attention_ref.vectors.call import Call

_ROUNDINGS = 16
"""How many roundings of the largest element an explanation may be off from a recording with a few digits."""

Kept = Callable[[str], bool]


@dataclass(frozen=True)
class Cause:
    """The first wrong tensor and its explanation.

    Arguments:
        tensor: the tensor.
        layer: the layer that computes it.
        is_in_single: whether the error is within the budget of float32, although the target's dtype is another.
        findings: the deviations of the layer from the specification that give its numbers; none if it is unexplained.
        reason: why the layer was not given to the diagnosis, or not explained by it, if that is known.
    """

    tensor: TensorError
    layer: str
    is_in_single: bool
    findings: tuple[Finding, ...] = ()
    reason: str = ""


class Compared(Protocol):
    """The recordings of both sides, as `location` has them."""

    ours: Recorder
    theirs: Recorder
    reference: Arrays
    target: Arrays
    pairs: list[Pair]

    def replacement(self, is_kept: Kept = ...) -> Callable[[str, Any], Any]:
        """Return the function that gives the target the reference's tensors, except some."""


def explained(sides: Compared, tensor: TensorError, *, is_in_single: bool) -> Cause:
    """Diagnose the layer of a tensor: the layer itself, the step alone, then the block around it."""
    if not isinstance(sides.ours, RoomRecorder):
        scope = tensor.name.removesuffix(".input").rpartition(".")[0] or tensor.name
        reason = "the reference is not a model of this library, so its layers cannot be computed with a step replaced"
        return Cause(tensor, scope, is_in_single, reason=reason)
    layers = model_layers(sides.ours.config)
    layer = layer_of(layers, tensor.name)
    if layer is None:
        return Cause(tensor, tensor.name, is_in_single, reason="it belongs to no layer")
    if tensor.direction == "backward":
        return Cause(tensor, layer.scope, is_in_single, reason="its forward pass is right")
    around = [each for each in layers if each.kind == "block" and layer.scope.startswith(f"{each.scope}.")]
    around = [] if is_in_single else around
    for each in (layer, *around):
        found = _explanation(sides, each, tensor)
        if found.findings:
            return Cause(tensor, layer.scope, is_in_single, found.findings)
    return Cause(tensor, layer.scope, is_in_single)


def _explanation(sides: Compared, layer: ModelLayer, tensor: TensorError) -> Explanation:
    ours: Any = sides.ours
    model = model_of(ours)
    answers = _answers(sides, layer)
    values = sides.reference if sides.theirs.can_replace else _target_values(sides)
    needed = {name for names in layer.inputs.values() for name in names}
    if not needed <= set(values):
        return Explanation()
    with np.errstate(all="ignore"):
        for call, result in calls(layer, tensor.name, values, model):
            if result not in answers:
                continue
            found = _explained_call(sides, call, answers[result], layer.scope)
            if found.findings:
                return found
    return Explanation()


def _explained_call(sides: Compared, call: Call, answer: np.ndarray, name: str) -> Explanation:
    """Explain one result, in the target's dtype and in float32, to which some libraries round in float64 too."""
    unit = sides.theirs.unit
    if unit > DTYPES[sides.theirs.dtype].unit_roundoff:  # a recording with a few digits
        allowed = np.full(answer.shape, _ROUNDINGS * unit * np.abs(answer).max())
        return explain_call(call, {"output": answer}, sides.theirs.dtype, allowed={"output": allowed}, name=name)
    found = explain_call(call, {"output": answer}, sides.theirs.dtype, name=name)
    if not found.findings and sides.theirs.dtype != "float32":
        found = explain_call(call, {"output": answer}, "float32", name=name)
    return found


def _answers(sides: Compared, layer: ModelLayer) -> Arrays:
    """Return what the target computes in a layer of the inputs in the reference, or of its own if it cannot be given
    others.
    """
    if not sides.theirs.can_replace:
        return _target_values(sides)

    def is_inside(name: str) -> bool:
        return name == layer.result or name.startswith(f"{layer.scope}.")

    found = sides.theirs.run(sides.replacement(is_inside)).values
    return {
        pair.reference: pair.form.to_reference(found[pair.target])
        for pair in sides.pairs
        if is_inside(pair.reference) and pair.target in found
    }


def _target_values(sides: Compared) -> Arrays:
    return {pair.reference: pair.form.to_reference(sides.target[pair.target]) for pair in sides.pairs}
