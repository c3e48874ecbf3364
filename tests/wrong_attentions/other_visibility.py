"""Wrong visibility beyond the gallery's pages: rules of one head or row for all, rules dropped for one query."""

from __future__ import annotations

import numpy as np

from tests.wrong_attentions.right import RightAttention


class MaskOfFirstHead(RightAttention):
    slug = "mask.of-first-head"

    def by_mask(self, mask):
        return mask if mask.ndim < 3 else np.take(mask, [0], axis=-3)


class MaskOfFirstRow(RightAttention):
    slug = "mask.of-first-row"

    def by_mask(self, mask):
        return mask[0] if mask.ndim == 4 else mask


class MaskTransposed(RightAttention):
    slug = "mask.transposed"

    def by_mask(self, mask):
        return np.moveaxis(mask, -1, -2) if mask.shape[-2:-1] == mask.shape[-1:] else mask


class CausalUnlessOneQuery(RightAttention):
    slug = "causal.ignored-for-one-query"

    def visible(self, shape, mask, bias, causal, *rules):
        return super().visible(shape, mask, bias, causal and shape[-2] > 1, *rules)


class WindowLeftOpen(RightAttention):
    slug = "window.left-ignored"

    def by_window(self, distance, left, right):
        return np.ones_like(distance, bool) if right is None else distance <= right


class WindowSidesExchanged(RightAttention):
    slug = "window.sides-exchanged"

    def by_window(self, distance, left, right):
        return super().by_window(distance, right, left)


class LengthOfFirstRow(RightAttention):
    slug = "padding.of-first-row"

    def by_length(self, key_length, key_lengths):
        return np.arange(key_length) < np.asarray(key_lengths)[:1, None, None, None]


class PaddedQueriesHidden(RightAttention):
    slug = "padding.hides-queries"

    def visible(self, shape, mask, bias, causal, query_offset, window, key_lengths):
        seen = super().visible(shape, mask, bias, causal, query_offset, window, key_lengths)
        if key_lengths is None or shape[-2] != shape[-1]:
            return seen
        real = np.arange(shape[-2]) < np.asarray(key_lengths)[..., None]  # (b,q)
        return seen & real[..., None, :, None]


class RulesUnlessOneQuery(RightAttention):
    slug = "visibility.ignored-for-one-query"

    def visible(self, shape, *rules):
        seen = super().visible(shape, *rules)
        return seen if shape[-2] > 1 else np.ones_like(seen)


VISIBILITY: tuple[type[RightAttention], ...] = tuple(
    entry for entry in list(vars().values()) if isinstance(entry, type) and hasattr(entry, "slug")
)
