"""Deviations of sinusoidal positions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from attention_ref.conformance.diagnosis.deviations.deviation import Deviation
from attention_ref.conformance.diagnosis.formula import Array
from attention_ref.spec.config import Sinusoid


def layout(what: str, clause_: str, **computed: str) -> type[Deviation]:
    """Return the deviation that arranges sines and cosines of some variants as those of others."""

    class PositionLayout(Deviation):
        __doc__ = what
        slug = "position.layout"
        clause = f"positions.{clause_}"
        correction = (
            "interleaved is sin, cos, sin, cos, ...; in the other variants all sines come first, then all cosines"
        )

        def sines_and_cosines(self, sines: Array, cosines: Array, variant: str) -> Array:
            return super().sines_and_cosines(sines, cosines, computed.get(variant, variant))

    return PositionLayout


class PositionCosineFirst(Deviation):
    """The cosines come before the sines."""

    slug = "position.cosine-first"
    clause = "positions.interleaved"
    correction = "sin first, then cos"

    def sines_and_cosines(self, sines: Array, cosines: Array, variant: str) -> Array:
        return super().sines_and_cosines(cosines, sines, variant)


def denominator(what: str, clause_: str, **computed: Any) -> type[Deviation]:
    """Return the deviation that takes the frequencies of another variant."""

    class PositionDenominator(Deviation):
        __doc__ = what
        slug = "position.denominator"
        clause = f"positions.{clause_}"
        correction = "divide i by m/2 - 1 for tensor2tensor alone, as in Whisper and fairseq; by m/2 otherwise"

        def sinusoid_frequencies(self, size: int, config: Sinusoid) -> list[float]:
            other = computed.get(config.variant, config.variant)
            return super().sinusoid_frequencies(size, replace(config, variant=other) if size >= 4 else config)

    return PositionDenominator


class PositionExponentDoubled(Deviation):
    """The exponents are 4i/m: 2 is multiplied to an index that already counts in steps of 2."""

    slug = "position.exponent-doubled"
    clause = "positions.interleaved"
    correction = "base^(2i/m) with i = 0, 1, 2, ..., or base^(i/m) with i = 0, 2, 4, ..."

    def sinusoid_frequencies(self, size: int, config: Sinusoid) -> list[float]:
        return [frequency**2 for frequency in super().sinusoid_frequencies(size, config)]


class PositionExponentByColumn(Deviation):
    """Each column has a frequency of its own, instead of one for each pair of sine and cosine."""

    slug = "position.frequency-per-column"
    clause = "positions.interleaved"
    correction = "give sine and cosine of a pair the same frequency: base^(-2i/m) for the columns 2i and 2i + 1"

    def sinusoidal_positions(self, positions: Array, size: int, config: Sinusoid) -> Array:
        if config.variant != "interleaved":
            return super().sinusoidal_positions(positions, size, config)
        columns = np.arange(size)
        angles = (np.asarray(positions) + config.offset)[..., None] * config.base ** (-columns / size)
        return np.where(columns % 2 == 0, np.sin(angles), np.cos(angles))


class PositionBase(Deviation):
    """The base of the sinusoid is 10000, whatever is configured."""

    slug = "position.base"
    clause = "positions.interleaved"
    correction = "use the configured base"

    def sinusoid_frequencies(self, size: int, config: Sinusoid) -> list[float]:
        return super().sinusoid_frequencies(size, replace(config, base=10000.0))


class PositionOffByOne(Deviation):
    """Positions count from 1."""

    slug = "position.off-by-one"
    clause = "model.formula"
    correction = "the first position is 0"

    def embedding_places(self, config: Any, source: Array, positions: Array | None, length: int) -> Array:
        return super().embedding_places(config, source, positions, length) + 1

    def coded_positions(self, positions: Array) -> Array:
        return super().coded_positions(positions) + 1


class SinusoidOffsetIgnored(Deviation):
    """Sinusoids begin with position 0, whatever offset is configured."""

    slug = "position.offset-ignored"
    clause = "positions.sinusoid-offset"
    correction = "add the offset to every position: padding index + 1 in M2M-100"

    def sinusoidal_positions(self, positions: Array, size: int, config: Sinusoid) -> Array:
        return super().sinusoidal_positions(positions, size, replace(config, offset=0))


class PositionLowPrecision(Deviation):
    """Angles are computed in float32, which is off by 1e-3 at position 131071."""

    slug = "position.low-precision"
    clause = "positions.angles"
    correction = "compute angles in float64, then round sines and cosines"

    def sinusoidal_positions(self, positions: Array, size: int, config: Sinusoid) -> Array:
        steps = size // 2 - (config.variant == "tensor2tensor")
        exponents = -np.arange(size // 2, dtype=np.float32) / np.float32(steps)
        places = (np.asarray(positions) + config.offset)[..., None].astype(np.float32)
        angles = places * np.float32(config.base) ** exponents
        sines, cosines = np.sin(angles), np.cos(angles)
        return self.sines_and_cosines(sines, cosines, config.variant).astype(np.float64)


SINUSOIDS: tuple[type[Deviation], ...] = (
    layout(
        "Sines and cosines stand in two halves, where they should alternate.", "interleaved", interleaved="concatenated"
    ),
    layout(
        "Sines and cosines alternate, where all sines should come first.",
        "concatenated",
        concatenated="interleaved",
        tensor2tensor="interleaved",
    ),
    layout(
        "Sines and cosines alternate, where all sines should come first.", "concatenated", concatenated="interleaved"
    ),
    layout(
        "Sines and cosines alternate where they should not, and stand in two halves where they should alternate.",
        "concatenated",
        interleaved="concatenated",
        concatenated="interleaved",
        tensor2tensor="interleaved",
    ),
    PositionOffByOne,
    denominator(
        "The exponents are i/(m/2), where i/(m/2 - 1) is configured.", "tensor2tensor", tensor2tensor="concatenated"
    ),
    denominator(
        "The exponents are i/(m/2 - 1), where i/(m/2) is configured.",
        "interleaved",
        interleaved="tensor2tensor",
        concatenated="tensor2tensor",
    ),
    denominator(
        "The exponents are i/(m/2 - 1), where i/(m/2) is configured.", "interleaved", interleaved="tensor2tensor"
    ),
    denominator(
        "The exponents are i/(m/2 - 1), where i/(m/2) is configured.", "concatenated", concatenated="tensor2tensor"
    ),
    PositionExponentDoubled,
    PositionExponentByColumn,
    PositionCosineFirst,
    PositionBase,
    SinusoidOffsetIgnored,
    PositionLowPrecision,
)
