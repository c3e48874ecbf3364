"""Deviations of positional codes: sinusoids, rotation, biases of distance."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from attention_ref.conformance.diagnosis.deviations.deviation import Deviation, variant
from attention_ref.conformance.diagnosis.formula import Array
from attention_ref.spec.config import AttentionConfig, Learned, RelativeBias, Rotary, Sinusoid


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
        angles = np.asarray(positions)[..., None] * config.base ** (-columns / size)
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


def position_missing(what: str, clause_: str, *kinds: type) -> type[Deviation]:
    """Return the deviation that adds no positional code of some kinds."""

    class PositionMissing(Deviation):
        __doc__ = f"{what} are not added to the embedding."
        slug = "position.missing"
        clause = f"positions.{clause_}"
        correction = "add the code of each position to the embedding"

        def code(self, config: Any, *arguments: Any) -> Array:
            code = super().code(config, *arguments)
            return np.zeros_like(code) if isinstance(config.positions, kinds) else code

    return PositionMissing


class PositionOffsetIgnored(Deviation):
    """Learned positions begin at row 0 of their table, whatever offset is configured."""

    slug = "position.offset-ignored"
    clause = "positions.learned-offset"
    correction = "read row position + offset: 2 in BART, padding index + 1 in RoBERTa"

    def learned_offset(self, config: Any) -> int:
        return 0


class PositionPaddingCounted(Deviation):
    """Skipped tokens are counted."""

    slug = "position.padding-counted"
    clause = "positions.skip"
    correction = "count the tokens that are not positions_skip"

    def embedding_places(self, config: Any, source: Array, positions: Array | None, length: int) -> Array:
        return super().embedding_places(replace(config, positions_skip=None), source, positions, length)


class PositionLowPrecision(Deviation):
    """Angles are computed in float32, which is off by 1e-3 at position 131071."""

    slug = "position.low-precision"
    clause = "positions.angles"
    correction = "compute angles in float64, then round sines and cosines"

    def sinusoidal_positions(self, positions: Array, size: int, config: Sinusoid) -> Array:
        steps = size // 2 - (config.variant == "tensor2tensor")
        exponents = -np.arange(size // 2, dtype=np.float32) / np.float32(steps)
        angles = np.asarray(positions)[..., None].astype(np.float32) * np.float32(config.base) ** exponents
        sines, cosines = np.sin(angles), np.cos(angles)
        return self.sines_and_cosines(sines, cosines, config.variant).astype(np.float64)


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


class RotaryScalingIgnored(Deviation):
    """The scaling of the frequencies is ignored."""

    slug = "rotary.scaling-ignored"
    clause = "positions.rotary-linear"
    correction = "scale the frequencies as configured, rope_scaling in checkpoints"
    scalings = ("linear", "ntk", "yarn", "llama3")

    def rotary(self, config: Rotary) -> Rotary:
        is_ignored = config.scaling is not None and config.scaling.kind in self.scalings
        return replace(super().rotary(config), scaling=None) if is_ignored else super().rotary(config)


class RotaryWhole(Deviation):
    """The whole head is rotated, although a part is configured."""

    slug = "rotary.partial-ignored"
    clause = "positions.rotary-partial"
    correction = "rotate the first `dimension` components, and leave the others as they are"

    def rotary(self, config: Rotary) -> Rotary:
        return replace(super().rotary(config), dimension=None)


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


class RotaryQueriesOnly(Deviation):
    """Queries are rotated, and keys are not."""

    slug = "rotary.keys-not-rotated"
    clause = "multihead.rotary"
    correction = "rotate queries and keys"

    def rotated(self, heads: Array, name: str, config: AttentionConfig, places: Array) -> Array:
        return heads if name == "key" else super().rotated(heads, name, config, places)


class RotaryCrossKeys(Deviation):
    """The keys of cross-attention are not rotated."""

    slug = "rotary.cross-keys-not-rotated"
    clause = "multihead.rotary"
    correction = "rotate queries and keys, in cross-attention too where rotary positions are configured"

    def rotated(self, heads: Array, name: str, config: AttentionConfig, places: Array) -> Array:
        return heads if name == "key" and self.is_cross else super().rotated(heads, name, config, places)


class RotaryOffset(Deviation):
    """Rotary positions begin at 0 in every call: an offset and the length of a cache are ignored."""

    slug = "rotary.offset"
    clause = "multihead.cache"
    correction = "count positions from query_offset, or from the length of the cache"

    def places(self, query: Array, source: Array, is_self: bool, positions: Array | None, offset: Any) -> Any:
        places, keys = super().places(query, source, is_self, positions, 0)
        if self.chunk_starts is None or positions is not None:
            return places, keys
        places = places - self.chunk_starts
        return places, places if is_self else keys


def rotary_off_by_one(what: str, of_queries: int, of_keys: int) -> type[Deviation]:
    """Return the deviation whose positions of queries or of keys are too large by one."""

    class RotaryOffByOne(Deviation):
        __doc__ = what
        slug = "rotary.off-by-one"
        clause = "multihead.rotary"
        correction = "a query and a key at the same place have the same position"

        def places(self, query: Array, source: Array, is_self: bool, positions: Array | None, offset: Any) -> Any:
            places, keys = super().places(query, source, is_self, positions, offset)
            return places + of_queries, keys + of_keys

    return RotaryOffByOne


class PositionsIgnored(Deviation):
    """Positions that are given are ignored, and counted instead."""

    slug = "positions.ignored"
    clause = "multihead.positions"
    correction = "rotate by the given positions"

    def places(self, query: Array, source: Array, is_self: bool, positions: Array | None, offset: Any) -> Any:
        return super().places(query, source, is_self, None, offset)


class DistanceBiasMissing(Deviation):
    """The configured bias of distance is not added."""

    slug = "distance-bias.missing"
    clause = "multihead.distance"
    correction = "add ALiBi's or the relative bias to the scores"

    def bias_of_scores(self, bias: Array | None, config: AttentionConfig, *arguments: Any) -> Array | None:
        return super().bias_of_scores(bias, replace(config, alibi=False, relative_bias=None), *arguments)


class AlibiSlopes(Deviation):
    """The slopes are 2^(-8i/h) for every number of heads, not only for powers of two."""

    slug = "alibi.slopes"
    clause = "positions.alibi-slopes"
    correction = "take the slopes of the next smaller power of two, then every second one of the power above"

    def alibi_slopes(self, heads: int) -> list[float]:
        return [2.0 ** (-8 * i / heads) for i in range(1, heads + 1)]


class AlibiSigned(Deviation):
    """The slope multiplies i - j, so that later keys are rewarded."""

    slug = "alibi.signed"
    clause = "positions.alibi"
    correction = "-slope |i + query_offset - j|"

    def alibi_distance(self, distance: Array) -> Array:
        return -distance


class AlibiPositive(Deviation):
    """ALiBi adds slope times distance, so that distant keys are rewarded."""

    slug = "alibi.positive"
    clause = "positions.alibi"
    correction = "-slope |i + query_offset - j|"

    def alibi_distance(self, distance: Array) -> Array:
        return -super().alibi_distance(distance)


class DistanceOffsetIgnored(Deviation):
    """The bias of distance ignores query_offset and the length of a cache."""

    slug = "distance-bias.offset-ignored"
    clause = "positions.offset"
    correction = "measure distances from i + query_offset"

    def bias_distance(self, query_length: int, key_length: int, query_offset: Any) -> Array:
        distance = super().bias_distance(query_length, key_length, np.zeros_like(query_offset))
        return distance if self.chunk_starts is None else distance + self.chunk_starts[:, :, None]


class RelativeReversed(Deviation):
    """The distance of the relative bias is i - j instead of j - i."""

    slug = "relative-bias.reversed"
    clause = "positions.relative"
    correction = "key position minus query position"

    def relative_bucket(self, distance: int, config: RelativeBias) -> int:
        return super().relative_bucket(-distance, config)


def relative_off_by_one(what: str, step: int) -> type[Deviation]:
    """Return the deviation whose distances of the relative bias are too large by `step`."""

    class RelativeOffByOne(Deviation):
        __doc__ = what
        slug = "relative-bias.off-by-one"
        clause = "positions.relative"
        correction = "a query and a key at the same place have the distance 0"

        def relative_bucket(self, distance: int, config: RelativeBias) -> int:
            return super().relative_bucket(distance + step, config)

    return RelativeOffByOne


def relative_direction(what: str, bidirectional: bool) -> type[Deviation]:
    """Return the deviation whose relative biases have one or both directions, whatever is configured."""

    class RelativeDirection(Deviation):
        __doc__ = what
        slug = "relative-bias.direction"
        clause = "positions.relative-one-sided"
        correction = "bidirectional in encoders, one-sided in decoders: as configured"

        def relative_bucket(self, distance: int, config: RelativeBias) -> int:
            return super().relative_bucket(distance, replace(config, bidirectional=bidirectional))

    return RelativeDirection


_SCALINGS = {"linear": "linear", "ntk": "NTK", "yarn": "YaRN", "llama3": "Llama 3"}

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
    PositionLowPrecision,
)
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
    RotaryScalingIgnored,
    *(
        variant(
            RotaryScalingIgnored,
            f"The {name} scaling of the frequencies is ignored.",
            scalings=(kind,),
            clause=f"positions.rotary-{kind}",
        )
        for kind, name in _SCALINGS.items()
    ),
    RotaryWhole,
)
PLACES: tuple[type[Deviation], ...] = (
    RotaryOffset, RotaryQueriesOnly, RotaryCrossKeys, PositionsIgnored,
    rotary_off_by_one(
        "The positions of queries are one too large: the newest token has the position after it.",
        of_queries=1,
        of_keys=0,
    ),
    rotary_off_by_one("The positions of keys are one too large.", of_queries=0, of_keys=1),
    DistanceBiasMissing,
)  # fmt: skip
ALIBI: tuple[type[Deviation], ...] = (AlibiSigned, AlibiPositive, AlibiSlopes, DistanceOffsetIgnored)
RELATIVE: tuple[type[Deviation], ...] = (
    RelativeReversed,
    relative_off_by_one("The distances of the relative bias are one too large.", 1),
    relative_off_by_one("The distances of the relative bias are one too small.", -1),
    relative_direction("The buckets are divided among both directions, although one is configured.", True),
    relative_direction("The buckets are of one direction, although both are configured.", False),
    DistanceOffsetIgnored,
)
EMBEDDED: tuple[type[Deviation], ...] = (
    position_missing("Learned positions", "learned", Learned),
    position_missing("Sinusoidal positions", "interleaved", Sinusoid),
    position_missing("Positions", "learned", Learned, Sinusoid),
    PositionOffsetIgnored,
    PositionPaddingCounted,
)
