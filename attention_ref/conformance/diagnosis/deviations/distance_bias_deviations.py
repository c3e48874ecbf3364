"""Deviations of biases of distance: ALiBi and the relative bias."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from attention_ref.conformance.diagnosis.deviations.deviation import Deviation
from attention_ref.conformance.diagnosis.formula import Array
from attention_ref.spec.config import AttentionConfig, RelativeBias


class DistanceBiasMissing(Deviation):
    """The configured bias of distance is not added."""

    slug = "distance-bias.missing"
    clause = "multihead.distance"
    correction = "add ALiBi's or the relative bias to the scores"

    def bias_of_scores(self, bias: Array | None, config: AttentionConfig, *arguments: Any) -> Array | None:
        return super().bias_of_scores(bias, replace(config, alibi=False, relative_bias=None), *arguments)


class DistanceBiasReplaced(Deviation):
    """A bias that is given replaces the configured bias of distance."""

    slug = "distance-bias.replaced"
    clause = "multihead.distance"
    correction = "add both biases to the scores"

    def bias_of_scores(self, bias: Array | None, *arguments: Any) -> Array | None:
        return super().bias_of_scores(bias, *arguments) if bias is None else bias


class AlibiFactorMissing(Deviation):
    """The bias of ALiBi has no factor, whatever is configured."""

    slug = "alibi.factor-missing"
    clause = "multihead.alibi-factor"
    correction = "multiply the bias by alibi_factor: 1/sqrt(d) in Falcon"

    def alibi_factor(self, config: AttentionConfig) -> float:
        return 1.0


class AlibiScaled(Deviation):
    """The bias of ALiBi is multiplied by the scale of the scores, as Falcon does, although no factor is configured."""

    slug = "alibi.scaled"
    clause = "multihead.distance"
    correction = "scale the scores, then add the bias"

    def alibi_factor(self, config: AttentionConfig) -> float:
        scale = config.sizes.head**-0.5 if config.scale is None else config.scale
        return scale if config.alibi_factor == 1 else super().alibi_factor(config)


class AlibiLaterUnpenalised(Deviation):
    """Keys after the query get no bias."""

    slug = "alibi.later-not-penalised"
    clause = "positions.alibi"
    correction = "-slope |i + query_offset - j|"

    def alibi_distance(self, distance: Array) -> Array:
        return np.maximum(-distance, 0)


class AlibiSlopesReversed(Deviation):
    """The slopes are those of the heads in reverse order."""

    slug = "alibi.slopes-reversed"
    clause = "positions.alibi-slopes"
    correction = "the first head has the steepest slope, 2^(-8/h) for a power of two"

    def alibi_slopes(self, heads: int) -> list[float]:
        return super().alibi_slopes(heads)[::-1]


class AlibiSlopesFromOne(Deviation):
    """The slopes begin with 1: the exponent counts from 0."""

    slug = "alibi.slopes-from-one"
    clause = "positions.alibi-slopes"
    correction = "2^(-8i/h) with i from 1"

    def alibi_slopes(self, heads: int) -> list[float]:
        slopes = super().alibi_slopes(heads)
        return [slope / slopes[0] for slope in slopes]


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


class RelativeNotLogarithmic(Deviation):
    """Each bucket has one distance: distances beyond the last bucket are clipped to it."""

    slug = "relative-bias.not-logarithmic"
    clause = "positions.relative"
    correction = "half of the buckets have one distance each, the others grow logarithmically"

    def relative_bucket(self, distance: int, config: RelativeBias) -> int:
        if not config.bidirectional:
            return min(max(-distance, 0), config.buckets - 1)
        half = config.buckets // 2
        return (half if distance > 0 else 0) + min(abs(distance), half - 1)


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


_ALIBI: tuple[type[Deviation], ...] = (
    AlibiSigned, AlibiPositive, AlibiSlopes, AlibiLaterUnpenalised, AlibiSlopesReversed, AlibiSlopesFromOne,
    DistanceOffsetIgnored,
)  # fmt: skip

_RELATIVE: tuple[type[Deviation], ...] = (
    RelativeReversed,
    relative_off_by_one("The distances of the relative bias are one too large.", 1),
    relative_off_by_one("The distances of the relative bias are one too small.", -1),
    relative_direction("The buckets are divided among both directions, although one is configured.", True),
    relative_direction("The buckets are of one direction, although both are configured.", False),
    RelativeNotLogarithmic,
    DistanceOffsetIgnored,
)

OF_DISTANCES: Mapping[str, tuple[type[Deviation], ...]] = {"alibi_bias": _ALIBI, "relative_bias": _RELATIVE}
"""The deviations of each bias of distance."""

DISTANCE_BIAS: tuple[type[Deviation], ...] = (
    DistanceBiasMissing, DistanceBiasReplaced, AlibiFactorMissing, AlibiScaled,
    *dict.fromkeys(each for some in OF_DISTANCES.values() for each in some),
)  # fmt: skip
"""The deviations of the biases of distance in a layer."""
