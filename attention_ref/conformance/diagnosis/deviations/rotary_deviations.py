"""Deviations of the rotation of queries and keys."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from attention_ref.conformance.diagnosis.deviations.deviation import Deviation, variant
from attention_ref.conformance.diagnosis.formula import Array
from attention_ref.spec.config import Rotary, Sinusoid


def pairing(what: str, clause_: str, *taken: bool) -> type[Deviation]:
    """Return the deviation that pairs the components of a head otherwise where `interleaved` is as taken."""

    class RotaryPairing(Deviation):
        __doc__ = what
        slug = "rotary.pairing"
        clause = f"positions.{clause_}"
        correction = "pair i with i + d/2 as Llama does, or 2i with 2i + 1 as GPT-J does: as configured"

        def rotary(self, config: Rotary) -> Rotary:
            config = super().rotary(config)
            return replace(config, interleaved=not config.interleaved) if config.interleaved in taken else config

    return RotaryPairing


class RotaryBase(Deviation):
    """The base of the rotation is a constant, whatever is configured."""

    slug = "rotary.base"
    clause = "positions.rotary"
    correction = "use the configured base, rope_theta in checkpoints"
    rotary_base = 10000.0

    def rotary(self, config: Rotary) -> Rotary:
        return replace(super().rotary(config), base=self.rotary_base)


class RotaryWhole(Deviation):
    """The whole head is rotated, although a part is configured."""

    slug = "rotary.partial-ignored"
    clause = "positions.rotary-partial"
    correction = "rotate the first `dimension` components, and leave the others as they are"

    def rotary(self, config: Rotary) -> Rotary:
        return replace(super().rotary(config), dimension=None)


class RotaryPartialFrequencies(Deviation):
    """A partial rotation has the frequencies of the whole head."""

    slug = "rotary.partial-frequencies"
    clause = "positions.rotary-partial"
    correction = "compute base^(-2i/n) with n, how many components are rotated, instead of the head size"

    def rotary_frequencies(self, dimension: int, head_size: int, config: Rotary, length: int) -> list[float]:
        return super().rotary_frequencies(head_size, head_size, config, length)[: dimension // 2]


class RotaryExponentHalved(Deviation):
    """The exponents are i/n instead of 2i/n, so that frequencies fall half as fast."""

    slug = "rotary.exponent-halved"
    clause = "positions.rotary"
    correction = "base^(-2i/n) with i = 0, 1, 2, ..., n/2 - 1"

    def rotary_frequencies(self, dimension: int, head_size: int, config: Rotary, length: int) -> list[float]:
        if config.scaling is not None:
            return super().rotary_frequencies(dimension, head_size, config, length)
        return [config.base ** (-i / dimension) for i in range(dimension // 2)]


class RotaryLowPrecision(Deviation):
    """Angles are computed in float32, which is off by 1e-3 at position 131071."""

    slug = "rotary.low-precision"
    clause = "positions.angles"
    correction = "compute angles in float64, then round sines and cosines"

    def rotary_angles(self, places: Array, frequencies: Array, config: Rotary) -> Array:
        size = 2 * len(frequencies)
        exponents = -np.arange(0, size, 2, dtype=np.float32) / np.float32(size)
        is_plain = config.scaling is None
        low = np.float32(config.base) ** exponents if is_plain else frequencies.astype(np.float32)
        return places[..., None].astype(np.float32) * low


class PositionsOfFirstRow(Deviation):
    """Every batch row gets the positions of the first."""

    slug = "positions.of-first-row"
    clause = "positions.rotary"
    correction = "take the positions (b,l) of each batch row"

    def rotate(self, array: Array, positions: Array, config: Rotary) -> Array:
        return super().rotate(array, positions[0] if np.ndim(positions) == 2 else positions, config)

    def sinusoidal_positions(self, positions: Array, size: int, config: Sinusoid) -> Array:
        first = np.broadcast_to(positions[:1], positions.shape) if np.ndim(positions) == 2 else positions
        return super().sinusoidal_positions(first, size, config)


class RotaryReversed(Deviation):
    """The rotation turns the other way: the sign of the sine is wrong."""

    slug = "rotary.reversed"
    clause = "positions.rotary"
    correction = "x_a cos - x_b sin, and x_b cos + x_a sin"

    def rotate(self, array: Array, positions: Array, config: Rotary) -> Array:
        return super().rotate(array, -np.asarray(positions), config)


class RotaryMissing(Deviation):
    """Queries and keys are not rotated."""

    slug = "rotary.missing"
    clause = "multihead.rotary"
    correction = "rotate queries and keys by their positions"

    def rotate(self, array: Array, positions: Array, config: Rotary) -> Array:
        return array


ROTATIONS: tuple[type[Deviation], ...] = (
    pairing("Neighbours are paired, where halves are configured.", "rotary-halves", False),
    pairing("Halves are paired, where neighbours are configured.", "rotary-interleaved", True),
    pairing(
        "Neighbours are paired where halves are configured, and halves where neighbours are.", "rotary", False, True
    ),
    *(
        variant(RotaryBase, f"The base is {base:g}, whatever is configured.", rotary_base=base)
        for base in (1e4, 5e5, 1e6)
    ),
    RotaryReversed,
    RotaryMissing,
    RotaryWhole,
    RotaryPartialFrequencies,
    RotaryExponentHalved,
    PositionsOfFirstRow,
    RotaryLowPrecision,
)
