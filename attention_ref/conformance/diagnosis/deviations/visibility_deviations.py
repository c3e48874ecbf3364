"""Deviations of several rules of visibility: offsets, padding, how rules are combined."""

from __future__ import annotations

from typing import Any

import numpy as np

from attention_ref.conformance.diagnosis.deviations.deviation import Deviation
from attention_ref.conformance.diagnosis.formula import Array


class OffsetOfFirstRow(Deviation):
    """The query_offset of the first batch row is used for every row."""

    slug = "offset.of-first-row"
    clause = "attention.query-offset"
    correction = "take an offset for each batch row: query_offset[:, None, None, None]"

    def distance(self, shape: tuple[int, ...], query_offset: Any) -> Array:
        return super().distance(shape, np.ravel(query_offset)[0] if np.size(query_offset) else 0)


class PaddingOneTooLong(Deviation):
    """One key past key_lengths is attended to."""

    slug = "padding.one-too-long"
    clause = "attention.key-lengths"
    correction = "hide the keys j >= key_lengths[b], not j > key_lengths[b]"

    def by_length(self, key_length: int, key_lengths: Array) -> Array:
        return super().by_length(key_length, key_lengths + 1)


class PaddingIgnored(Deviation):
    """Key_lengths are ignored: padding is attended to."""

    slug = "padding.ignored"
    clause = "attention.key-lengths"
    correction = "hide the keys j >= key_lengths[b]"

    def by_length(self, key_length: int, key_lengths: Array) -> Array:
        return np.ones((*key_lengths.shape[:-1], key_length), bool)


class PaddingLeft(Deviation):
    """Key_lengths count the real keys from the right: the padding is taken to stand on the left."""

    slug = "padding.left"
    clause = "attention.key-lengths"
    correction = "the first key_lengths[b] keys are real; the padding stands on the right"

    def by_length(self, key_length: int, key_lengths: Array) -> Array:
        return np.arange(key_length) >= key_length - key_lengths


class AnyRule(Deviation):
    """A key is seen where any one of the rules allows it."""

    slug = "visibility.any-rule"
    clause = "attention.visibility"
    correction = "combine mask, causal, window and key_lengths by AND"

    def together(self, rules: list[Array]) -> Array:
        hiding = [rule for rule in rules if not rule.all()] or rules
        return np.logical_or.reduce(hiding)


class LastRule(Deviation):
    """One of the rules replaces the others."""

    slug = "visibility.last-rule"
    clause = "attention.visibility"
    correction = "combine mask, causal, window and key_lengths by AND"

    def together(self, rules: list[Array]) -> Array:
        return ([rule for rule in rules if not rule.all()] or rules)[-1]


class MaskIgnoredBesideLengths(Deviation):
    """The mask is ignored where lengths are given too."""

    slug = "mask.ignored-beside-lengths"
    clause = "multihead.visibility"
    correction = "combine all rules by AND"

    def attention(self, query: Array, key: Array, value: Array, **options: Any) -> dict[str, Array]:
        if options.get("key_lengths") is not None:
            options["mask"] = None
        return super().attention(query, key, value, **options)


class OwnMaskIgnoredBesideLengths(Deviation):
    """The mask of a block's self-attention is ignored where lengths are given too."""

    slug = "mask.ignored-beside-lengths"
    clause = "multihead.visibility"
    correction = "combine all rules by AND"

    def block(self, *arguments: Any, **options: Any) -> Array:
        if options.get("key_lengths") is not None:
            options["mask"] = None
        return super().block(*arguments, **options)


class PaddingOfFirstRow(Deviation):
    """The length of the first batch row is used for every row."""

    slug = "padding.of-first-row"
    clause = "attention.key-lengths"
    correction = "take a length for each batch row: key_lengths[:, None, None, None]"

    def by_length(self, key_length: int, key_lengths: Array) -> Array:
        return super().by_length(key_length, key_lengths[:1])


class PaddingHidesQueries(Deviation):
    """Queries at or past key_lengths see nothing, where there are as many queries as keys."""

    slug = "padding.hides-queries"
    clause = "attention.key-lengths"
    correction = "key_lengths hide keys alone; every query has a result"

    def visible(self, shape: Any, mask: Any, bias: Any, causal: Any, offset: Any, window: Any, lengths: Any) -> Array:
        visible = super().visible(shape, mask, bias, causal, offset, window, lengths)
        if lengths is None or shape[-1] != shape[-2]:
            return visible
        return visible & (np.arange(shape[-2])[:, None] < lengths[..., None, None, None])


class RulesIgnoredForOneQuery(Deviation):
    """Every key is seen where there is one query."""

    slug = "visibility.ignored-for-one-query"
    clause = "attention.visibility"
    correction = "apply the rules of visibility to one query as to many"

    def together(self, rules: list[Array]) -> Array:
        return np.ones_like(rules[0]) if rules[0].shape[-2] == 1 else super().together(rules)


VISIBILITY: tuple[type[Deviation], ...] = (
    OffsetOfFirstRow, PaddingIgnored, PaddingLeft, PaddingOneTooLong, AnyRule, LastRule, PaddingOfFirstRow,
    PaddingHidesQueries, RulesIgnoredForOneQuery,
)  # fmt: skip
VISIBILITY_OF_LAYERS: tuple[type[Deviation], ...] = (MaskIgnoredBesideLengths, OwnMaskIgnoredBesideLengths)
