"""Deviations of biases of distance: ALiBi and the relative bias."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from attention_ref.conformance.diagnosis.deviations.deviation import Deviation
from attention_ref.conformance.diagnosis.formula import Array
from attention_ref.spec.config import (
    AttentionConfig,
    RelativeBias,
)


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


ALIBI: tuple[type[Deviation], ...] = (AlibiSigned, AlibiPositive, AlibiSlopes, DistanceOffsetIgnored)

RELATIVE: tuple[type[Deviation], ...] = (
    RelativeReversed,
    relative_off_by_one("The distances of the relative bias are one too large.", 1),
    relative_off_by_one("The distances of the relative bias are one too small.", -1),
    relative_direction("The buckets are divided among both directions, although one is configured.", True),
    relative_direction("The buckets are of one direction, although both are configured.", False),
    DistanceOffsetIgnored,
)

DISTANCE_BIAS: tuple[type[Deviation], ...] = (DistanceBiasMissing, *dict.fromkeys([*ALIBI, *RELATIVE]))
