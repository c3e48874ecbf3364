"""Deviations of the positions by which queries and keys are rotated."""

from __future__ import annotations

from typing import Any

from attention_ref.conformance.diagnosis.deviations.deviation import Deviation
from attention_ref.conformance.diagnosis.formula import Array
from attention_ref.spec.config import AttentionConfig


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


ROTARY_POSITIONS: tuple[type[Deviation], ...] = (
    RotaryOffset, RotaryQueriesOnly, RotaryCrossKeys, PositionsIgnored,
    rotary_off_by_one(
        "The positions of queries are one too large: the newest token has the position after it.",
        of_queries=1,
        of_keys=0,
    ),
    rotary_off_by_one("The positions of keys are one too large.", of_queries=0, of_keys=1),
)  # fmt: skip
