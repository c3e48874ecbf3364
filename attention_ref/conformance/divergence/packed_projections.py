"""Query, key and value that one projection computes: the tensor's parts, recorded as three tensors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np

from attention_ref.conformance.divergence.alignment import closeness
from attention_ref.conformance.divergence.recording import Arrays, Recorder, Recording, Replace
from attention_ref.conformance.divergence.tensor_forms import forms

PARTS = ("query", "key", "value")
_WORDS = ("qkv", "query_key_value", "c_attn", "w_pack", "in_proj")
"""What the names of such projections contain in other libraries."""
_BY_HEAD = "query_key_value"
"""The name of those in which a head's query, key and value are adjacent."""
_CLOSE = 0.9
_EXPECTED = 0.1  # the worth of the layout that a name suggests, in comparison to 1 for an equal part


@dataclass(frozen=True)
class Packing:
    """The places of the parts of a tensor `(..., (h+2g)*d)`.

    Arguments:
        name: of the tensor.
        places: of each part in the last axis, by its name.
    """

    name: str
    places: Mapping[str, np.ndarray]

    def part_name(self, part: str) -> str:
        """Return the name of a part."""
        return f"{self.name}.{part}"

    @property
    def names(self) -> list[str]:
        """The names of the parts."""
        return [self.part_name(part) for part in self.places]

    def unpacked(self, array: np.ndarray) -> Arrays:
        """Return the parts by their names."""
        return {self.part_name(part): array[..., places] for part, places in self.places.items()}

    def packed(self, parts: Mapping[str, np.ndarray | None], array: np.ndarray) -> np.ndarray:
        """Return a copy of the tensor with the parts that are given."""
        array = array.copy()
        for part, places in self.places.items():
            if (values := parts.get(self.part_name(part))) is not None:
                array[..., places] = values.reshape(array[..., places].shape)
        return array


class UnpackedRecorder(Recorder):
    """A recorder whose packed tensors are recorded as their parts, which can be replaced on their own.

    Arguments:
        inner: records the packed tensors.
        packings: where their parts stand.
    """

    def __init__(self, inner: Recorder, packings: list[Packing]) -> None:
        super().__init__(inner.name, inner.dtype)
        self.inner = inner
        self.packings = {packing.name: packing for packing in packings}
        self.can_replace, self.can_differentiate = inner.can_replace, inner.can_differentiate
        self.shapes: dict[str, tuple[int, ...]] = {}

    @property
    def unit(self) -> float:
        """That of the recorder inside."""
        return self.inner.unit

    def run(self, replace: Replace | None = None) -> Recording:
        """Run the model; a part is replaced alone."""
        recording = self.inner.run(self._replace(replace))
        self.shapes = {name: recording.values[name].shape for name in self.packings}
        return self._unpacked(recording)

    def differentiate(self, output: str, cotangent: np.ndarray, replace: Replace | None = None) -> Recording:
        """Differentiate the packed tensors and take their gradients apart."""
        return self._unpacked(self.inner.differentiate(output, cotangent, self._replace(replace)))

    def differentiate_locally(self, gradients: Mapping[str, np.ndarray], replace: Replace) -> Recording:
        """Differentiate packed tensors of which every part has a gradient and is replaced."""
        given = dict(gradients)
        complete = {name for name, packing in self.packings.items() if given.keys() >= set(packing.names)}
        for name, packing in self.packings.items():
            parts = {part: given.pop(part, None) for part in packing.names}
            if name in complete:
                given[name] = packing.packed(parts, np.zeros(self.shapes[name]))
        whole = self._replace(replace)
        skipped = self.packings.keys() - complete

        def kept(name: str, values: np.ndarray) -> np.ndarray | None:
            return None if name in skipped or whole is None else whole(name, values)

        return self._unpacked(self.inner.differentiate_locally(given, kept))

    def perturbed(self, scale: float, generator: np.random.Generator) -> AbstractContextManager[Any]:
        """Change the parameters of the model."""
        return self.inner.perturbed(scale, generator)

    def _replace(self, replace: Replace | None) -> Replace | None:
        if replace is None:
            return None

        def replaced(name: str, values: np.ndarray) -> np.ndarray | None:
            packing = self.packings.get(name)
            if packing is None:
                return replace(name, values)
            parts = {part: replace(part, own) for part, own in packing.unpacked(values).items()}
            return None if all(each is None for each in parts.values()) else packing.packed(parts, values)

        return replaced

    def _unpacked(self, recording: Recording) -> Recording:
        return Recording(self._parts(recording.values), self._parts(recording.gradients))

    def _parts(self, arrays: Arrays) -> Arrays:
        found: Arrays = {}
        for name, array in arrays.items():
            found |= self.packings[name].unpacked(array) if name in self.packings else {name: array}
        return found


def packings(reference: Arrays, target: Arrays) -> list[Packing]:
    """Return the packed projections of a target: tensors with such a name, or with the values of a reference.

    The layout is that in which most parts are close to those of the reference, in any order, over all layers; else the
    one that the name suggests.
    """
    layers = list(_layers(reference))
    found: list[tuple[str, list[dict[str, np.ndarray]], np.ndarray]] = []
    for name, array in target.items():
        layer = next((each for each in layers if _fits(each, array)), None)
        if layer is None:
            continue
        last = name.rpartition(".")[2].lower()
        layouts = _layouts(*(layer[part].shape[2:] for part in PARTS))
        worths = np.array([_worth(layer, array, places) for places in layouts])
        if any(word in last for word in _WORDS) or worths.max() > _CLOSE:
            worths[int(_BY_HEAD in last) % len(layouts)] += _EXPECTED
            found.append((name, layouts, worths))
            layers = layers[next(i for i, each in enumerate(layers) if each is layer) + 1 :]
    if not found:
        return []
    best = int(np.argmax(np.sum([worths for _, _, worths in found], axis=0)))
    return [Packing(name, layouts[best]) for name, layouts, _ in found]


def _layers(reference: Arrays) -> Iterator[Arrays]:
    """Return query, key and value `(b,l,h,d)` of each attention, before they are rotated and normalised."""
    for name in reference:
        scope, _, last = name.rpartition(".")
        if last == "value" and all(f"{scope}.{part}" in reference for part in PARTS):
            parts = {part: reference[f"{scope}.{part}"] for part in PARTS}
            if all(array.ndim == 4 for array in parts.values()):  # else those of a module that has no axis of heads
                yield {
                    part: reference.get(f"{scope}.{part}_projection", array.swapaxes(1, 2))
                    for part, array in parts.items()
                }


def _fits(layer: Arrays, array: np.ndarray) -> bool:
    """Return whether an array is as large as query, key and value together."""
    length = {each.shape[:2] for each in layer.values()}
    width = sum(each.shape[2] * each.shape[3] for each in layer.values())
    return (
        len(length) == 1
        and array.ndim > 1
        and array.shape[-1] == width
        and array.size == sum(each.size for each in layer.values())
    )


def _layouts(query: tuple[int, ...], key: tuple[int, ...], value: tuple[int, ...]) -> list[dict[str, np.ndarray]]:
    """Return the places of the parts: one behind the other, and beside each other in each group of heads."""
    sizes = {"query": int(np.prod(query)), "key": int(np.prod(key)), "value": int(np.prod(value))}
    starts = np.cumsum([0, *sizes.values()])
    behind = {part: np.arange(start, start + sizes[part]) for part, start in zip(PARTS, starts, strict=False)}
    groups = key[0]
    widths = {part: size // groups for part, size in sizes.items()}
    group = np.arange(groups)[:, None] * sum(widths.values())
    beside, first = {}, 0
    for part in PARTS:
        beside[part] = (group + first + np.arange(widths[part])).ravel()
        first += widths[part]
    return [behind, beside]


def _worth(layer: Arrays, array: np.ndarray, places: Mapping[str, np.ndarray]) -> float:
    """Return how close the parts are to the reference's on average, in the best order of parts of the same size."""
    parts = [array[..., places[part]] for part in PARTS]
    ours = [layer[part].reshape(*layer[part].shape[:2], -1) for part in PARTS]
    orders = [[_close(own, part) for part in parts] for own in ours]
    return max(sum(orders[i][j] for i, j in enumerate(order)) / len(PARTS) for order in permutations(range(len(PARTS))))


def _close(reference: np.ndarray, part: np.ndarray) -> float:
    found = forms(reference.shape, part.shape)
    return max((closeness(reference, form.to_reference(part)) for form in found), default=0.0)
