"""Locate where a model first differs from a reference."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from attention_ref.conformance.divergence.alignment import Pair, align, closeness
from attention_ref.conformance.divergence.cause import Cause, explained
from attention_ref.conformance.divergence.comparison import Sides, TensorError, compare
from attention_ref.conformance.divergence.divergence_report import Divergence
from attention_ref.conformance.divergence.expected_sizes import expected_sizes
from attention_ref.conformance.divergence.packed_projections import UnpackedRecorder, packings
from attention_ref.conformance.divergence.padding import Blank, blank_padding
from attention_ref.conformance.divergence.recorders import recorder
from attention_ref.conformance.divergence.recording import Arrays, Recorder
from attention_ref.conformance.divergence.room_recorder import RoomRecorder
from attention_ref.conformance.divergence.spread import RUNS, gradient_spread, spread
from attention_ref.conformance.errors import UsageError
from attention_ref.spec.dtypes import DTYPES

_ALIGNMENTS = 6
"""How often the tensors are aligned at most, each time with those of the reference as inputs of every step."""

_FAR = 0.01
"""The distance from which on a pair is tested whether it belongs together."""

_SURELY = 1e-6
"""A distance that is more than rounding."""

_MOST_FAR = 24
"""How many pairs are tested at most."""


def locate(
    reference: Any,
    target: Any,
    inputs: Mapping[str, Any] | None = None,
    *,
    target_inputs: Mapping[str, Any] | tuple[Any, ...] | None = None,
    names: Mapping[str, str] | None = None,
    backward: bool = True,
    seed: int = 0,
    runs: int = RUNS,
) -> Divergence:
    """Find the first tensor of a model that differs from the reference by more than rounding errors.

    Both sides run on the same inputs. Their tensors are paired by name, order, layout and closeness. Then the target
    runs again with the reference's tensors as the inputs of every step, which separates the error that a step adds from
    the error that it inherits. The first step whose added error exceeds its budget is explained by the diagnosis.

        config, params = weights.read("path/to/checkpoint")
        reference = attention_ref.numpy.Transformer(config, params)
        print(conformance.locate(reference, my_model, {"source": tokens}))

    Arguments:
        reference: a model of one of the backends, which runs in float64; or anything that `target` may be.
        target: a `torch.nn.Module`, a Keras model, a model of a backend, or recorded tensors: a mapping of names to
            arrays in the order of their computation, the path of a safetensors file with them, or of the JSON file that
            the model debugger of `transformers` writes.
        inputs: the arguments of the call of a `Transformer` by name: `source`, `target`, `lengths`, `types` and so on.
            A module whose `forward` has `input_ids` gets them in the words of `transformers`.
        target_inputs: the arguments of the target's call where they are others: a tuple, or a mapping by name.
        names: names of the reference's tensors, and of the target's tensors that they are compared with.
        backward: compare gradients too, where both sides have them.
        seed: of the cotangent and of the perturbed roundings.
        runs: how many runs with perturbed roundings the budgets are computed from.

    Returns:
        The errors of all tensors and the first wrong one with its cause; `str()` of it is a report.

    Raises:
        UsageError: if no tensor of the target can be compared with one of the reference.
    """
    ours = recorder(reference, inputs, inputs, name="the reference", is_exact=True)
    theirs = recorder(target, inputs, target_inputs, name="the target", is_exact=False)
    return _Comparison(ours, theirs, names or {}, seed, runs).located(backward)


class _Comparison:
    """Two sides, their tensors and how they belong together."""

    def __init__(self, ours: Recorder, theirs: Recorder, names: Mapping[str, str], seed: int, runs: int) -> None:
        self.reference, self.target = ours.run().values, theirs.run().values
        if packed := packings(self.reference, self.target):
            theirs = UnpackedRecorder(theirs, packed)
            self.target = theirs.run().values
        self.ours, self.theirs, self.names, self.seed, self.runs = ours, theirs, names, seed, runs
        self.unit = float(np.hypot(ours.unit, theirs.unit))
        self.single = max(self.unit, DTYPES["float32"].unit_roundoff)
        self.blank: Blank = lambda _, array: array
        if isinstance(ours, RoomRecorder):
            self.blank = blank_padding(ours.config, ours.inputs)
        self.is_on_tape = False
        self.pairs: list[Pair] = []
        self.renewed: Arrays = {}
        self._align()

    def located(self, backward: bool) -> Divergence:
        """Compare all tensors, and the gradients if asked for."""
        notes: list[str] = []
        rows = self._forward()
        if backward and self.ours.can_differentiate and self.theirs.can_differentiate:
            rows += self._backward()
        elif backward:
            without = " and ".join(each.name for each in (self.ours, self.theirs) if not each.can_differentiate)
            notes.append(f"gradients are not compared, because {without} cannot compute them")
        if not self.renewed:
            notes.append(
                "inherited and added errors cannot be separated, because neither side runs on other tensors: the first "
                "wrong tensor may inherit its error from a tensor that is not compared"
            )
        cause = self._cause(rows)
        return Divergence(
            reference=self.ours.name,
            target=self.theirs.name,
            dtype=self.theirs.dtype,
            tensors=tuple(rows),
            cause=cause,
            budget=self._budget_source(),
            unpaired=tuple(name for name in self.reference if name not in {pair.reference for pair in self.pairs}),
            notes=tuple(notes),
        )

    def _align(self) -> None:
        """Align the tensors, until the run on the reference's tensors does not change the pairs."""
        target, refused = self.target, set[tuple[str, str]]()
        for _ in range(_ALIGNMENTS):
            pairs = align(self.reference, target, self.names, refused, self.blank)
            if not pairs:
                raise UsageError(
                    f"no tensor of the target fits one of the reference in shape: {_shapes(self.reference)} and "
                    f"{_shapes(self.target)}"
                )
            if pairs == self.pairs:
                break
            self.pairs = pairs
            if not self.theirs.can_replace:
                break
            target = self.renewed = self.theirs.run(self.replacement()).values
            strangers = self._strangers()
            if strangers:  # which spoil the tensors after them
                refused |= {(pair.reference, pair.target) for pair in strangers}
                target = self.theirs.run(self.replacement(self._far_names().__contains__)).values
        if not self.theirs.can_replace and self.ours.can_replace:
            self.renewed = self.ours.run(self.counterpart()).values

    def _strangers(self) -> list[Pair]:
        """Return the pairs that do not belong together: given the reference's values of such a tensor, the target's
        other tensors come out worse than without.
        """
        names = self._far_names()
        far = [pair for pair in self.pairs if pair.reference in names - set(self.names)]
        if not far:
            return []
        before = self._distances_without(lambda name: name in names)
        strangers = []
        for pair in far[:_MOST_FAR]:
            after = self._distances_without(lambda name, own=pair.reference: name in names and name != own)  # type: ignore[misc]
            others = [name for name in before if name != pair.reference]
            worse = sum(after[name] > 10 * before[name] + _SURELY for name in others)
            better = sum(before[name] > 10 * after[name] + _SURELY for name in others)
            strangers += [pair] if worse > better else []
        return strangers

    def _far_names(self) -> set[str]:
        return {name for name, distance in self._distances(self.renewed).items() if distance > _FAR}

    def _distances_without(self, is_kept: Callable[[str], bool]) -> dict[str, float]:
        """Return the distances if the target has the reference's tensors except some."""
        return self._distances(self.theirs.run(self.replacement(is_kept)).values)

    def _distances(self, target: Arrays) -> dict[str, float]:
        """Return how far the tensors of each pair are from each other, from 0 to 1."""
        return {
            pair.reference: 1
            - closeness(
                self.blank(pair.reference, self.reference[pair.reference]),
                self.blank(pair.reference, pair.form.to_reference(target[pair.target])),
            )
            for pair in self.pairs
        }

    def replacement(self, is_kept: Callable[[str], bool] = lambda _: False) -> Callable[[str, Any], Any]:
        """Return the function that gives the target the reference's tensors, except some by their reference's name."""
        given = {
            pair.target: pair.form.to_target(self.reference[pair.reference])
            for pair in self.pairs
            if not is_kept(pair.reference)
        }
        return lambda name, _: given.get(name)

    def counterpart(self, is_kept: Callable[[str], bool] = lambda _: False) -> Callable[[str, Any], Any]:
        """Return the function that gives the reference the target's tensors, except some."""
        given = {
            pair.reference: pair.form.to_reference(self.target[pair.target])
            for pair in self.pairs
            if not is_kept(pair.reference)
        }
        return lambda name, _: given.get(name)

    def _forward(self) -> list[TensorError]:
        if self.ours.can_replace:
            fixed = {pair.reference: self.reference[pair.reference] for pair in self.pairs}
            sizes, self.is_on_tape = expected_sizes(self.ours, self.reference, self.runs, self.seed)
            steps = spread(self.ours, fixed, self.runs, self.seed)
        else:
            sizes = steps = _estimated(self.reference)
        sides = Sides(self.reference, self.target, self.renewed, self.theirs.can_replace, sizes, steps, self.blank)
        return compare(self.pairs, sides, "forward", self.unit, self.single)

    def _backward(self) -> list[TensorError]:
        last = self.pairs[-1]
        cotangent = np.random.default_rng(self.seed).standard_normal(last.form.reference)
        cotangent = self.blank(last.reference, cotangent)
        ours = self.ours.differentiate(last.reference, cotangent).gradients
        theirs = self.theirs.differentiate(last.target, last.form.to_target(cotangent)).gradients
        # libraries differ in the gradients of scores and weights of hidden keys, which reach nothing
        shared = {name for name in ours if not name.endswith((".scores", ".weights"))}
        forms = {pair.target: (pair.form, ours[pair.reference]) for pair in self.pairs if pair.reference in shared}
        given = {name: form.to_target(gradient) for name, (form, gradient) in forms.items()}
        renewed = {}
        if self.theirs.can_replace:
            # a step goes on through tensors whose gradient the reference does not have
            replacement = self.replacement(lambda name: name not in shared)
            renewed = self.theirs.differentiate_locally(given, replacement).gradients
        sizes = gradient_spread(self.ours, last.reference, cotangent, self.runs, self.seed)
        sides = Sides(ours, theirs, renewed, True, sizes, sizes, self.blank)
        pairs = [pair for pair in self.pairs if pair is not last and pair.reference in shared]
        return compare(pairs, sides, "backward", self.unit, self.single)[::-1]

    def _cause(self, rows: list[TensorError]) -> Cause | None:
        wrong = next((row for row in rows if row.is_wrong_in_single), None)
        if wrong is None:
            rough = next((row for row in rows if row.is_wrong), None)
            return None if rough is None else explained(self, rough, is_in_single=True)
        return explained(self, wrong, is_in_single=False)

    def _budget_source(self) -> str:
        if self.is_on_tape:
            return (
                f"the specification's tape for all errors together, and the spread of {self.runs} runs with perturbed "
                "roundings for one step and for gradients"
            )
        if self.ours.can_replace:
            return f"the spread of {self.runs} runs of the reference with perturbed roundings"
        return "one rounding for every tensor before it, because the reference cannot run with perturbed roundings"


def _estimated(values: Arrays) -> Arrays:
    """Return the size of errors if every tensor so far had added one rounding of the size of its numbers."""
    sizes = {}
    for count, (name, array) in enumerate(values.items(), start=1):
        finite = np.where(np.isfinite(array), array, 0.0)
        sizes[name] = np.full(array.shape, np.sqrt(count * np.mean(finite**2)))
    return sizes


def _shapes(arrays: Arrays) -> str:
    found = sorted({str(array.shape) for array in arrays.values()})
    return ", ".join(found[:8]) or "no tensor"
