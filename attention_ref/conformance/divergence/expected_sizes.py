"""The expected size of the rounding errors of every tensor of a model: from the tape if it is small, else from runs."""

from __future__ import annotations

from typing import NamedTuple

from attention_ref.conformance.divergence.layer_calls import model_of
from attention_ref.conformance.divergence.recording import Arrays, Recorder
from attention_ref.conformance.divergence.room_recorder import RoomRecorder
from attention_ref.conformance.divergence.spread import spread
from attention_ref.conformance.divergence.tape_sizes import is_small, tape_sizes


class ExpectedSizes(NamedTuple):
    """The expected size of the error of each tensor in units of roundoff, and whether the tape computed it."""

    arrays: Arrays
    is_on_tape: bool


def expected_sizes(model: Recorder, values: Arrays, runs: int, seed: int) -> ExpectedSizes:
    """Return the expected sizes of all errors of a model together.

    Arguments:
        model: what runs.
        values: its tensors.
        runs: how many runs with perturbed roundings the sizes are computed from that the tape does not compute.
        seed: of the perturbations.
    """
    own = model_of(model) if isinstance(model, RoomRecorder) else None
    sizes = spread(model, {}, runs, seed)
    if own is None or not is_small(own, values):
        return ExpectedSizes(sizes, is_on_tape=False)
    return ExpectedSizes({**sizes, **tape_sizes(own)}, is_on_tape=True)
