"""Deviations of the causal rule."""

from __future__ import annotations

from typing import Any

import numpy as np

from attention_ref.conformance.diagnosis.deviations.deviation import Deviation
from attention_ref.conformance.diagnosis.formula import Array

_CAUSAL = "let query i see key j where j <= i + query_offset"


class CausalIgnored(Deviation):
    """Causal is ignored: queries see the future."""

    slug = "causal.ignored"
    clause = "attention.causal"
    correction = _CAUSAL

    def by_causality(self, distance: Array) -> Array:
        return np.ones(distance.shape, bool)


class CausalOffsetIgnored(Deviation):
    """The causal mask ignores query_offset and starts at the top left."""

    slug = "causal.offset-ignored"
    clause = "attention.query-offset"
    correction = _CAUSAL

    def causal_offset(self, query_offset: Any) -> Any:
        return self.first_offset()


class CausalBottomRight(Deviation):
    """The causal mask is aligned at the bottom right: without an offset the last query sees the last key."""

    slug = "causal.bottom-right"
    clause = "attention.causal"
    correction = "align at the top left, and take a query_offset of k - q for the bottom right"

    def visible(self, shape: tuple[int, ...], *rules: Any) -> Array:
        self.bottom_right = shape[-1] - shape[-2]
        return super().visible(shape, *rules)

    def causal_offset(self, query_offset: Any) -> Any:
        return super().causal_offset(query_offset) + self.bottom_right


class CausalExcludesSelf(Deviation):
    """The causal mask hides a query's own position."""

    slug = "causal.excludes-self"
    clause = "attention.causal"
    correction = "j <= i + query_offset, not j < i + query_offset"

    def by_causality(self, distance: Array) -> Array:
        return distance < 0


class CausalSeesNext(Deviation):
    """The causal mask lets a query see one key of the future."""

    slug = "causal.sees-next"
    clause = "attention.causal"
    correction = "j <= i + query_offset, not j <= i + 1 + query_offset"

    def by_causality(self, distance: Array) -> Array:
        return distance <= 1


class CausalReversed(Deviation):
    """The causal mask hides the past instead of the future."""

    slug = "causal.reversed"
    clause = "attention.causal"
    correction = _CAUSAL

    def by_causality(self, distance: Array) -> Array:
        return distance >= 0


class CausalIgnoredForOneQuery(Deviation):
    """Causal is ignored where there is one query: is_causal = q > 1."""

    slug = "causal.ignored-for-one-query"
    clause = "attention.causal"
    correction = _CAUSAL

    def by_causality(self, distance: Array) -> Array:
        return super().by_causality(distance) | (distance.shape[-2] == 1)


CAUSAL: tuple[type[Deviation], ...] = (
    CausalIgnoredForOneQuery, CausalBottomRight, CausalOffsetIgnored, CausalIgnored, CausalExcludesSelf, CausalSeesNext,
    CausalReversed,
)  # fmt: skip
