"""Deviations of visibility: mask, causality, window, padding, rows that see nothing."""

from __future__ import annotations

from typing import Any

import numpy as np

from attention_ref.conformance.diagnosis.deviations.deviation import Deviation
from attention_ref.conformance.diagnosis.formula import Array

_MASK = "hide where the mask is False: where(mask, scores, -inf), before the softmax"
_CAUSAL = "let query i see key j where j <= i + query_offset"
_WINDOW = "let query i see key j where -left <= j - (i + query_offset) <= right, both ends included"


class _WithoutMask(Deviation):
    """The mask does not decide visibility."""

    def visible(self, shape: Any, mask: Any, *rules: Any) -> Array:
        return super().visible(shape, None, *rules)


class MaskInverted(Deviation):
    """True in the mask hides a key."""

    slug = "mask.inverted"
    clause = "attention.mask"
    correction = "True means that a query may attend: pass ~mask, or hide where it is False"

    def by_mask(self, mask: Array) -> Array:
        return ~mask


class MaskIgnored(_WithoutMask):
    """The mask is ignored."""

    slug = "mask.ignored"
    clause = "attention.mask"
    correction = _MASK


class MaskAddedAsNumber(_WithoutMask):
    """The boolean mask is added to the scores as 0 and 1, and hides nothing."""

    slug = "mask.added-as-number"
    clause = "attention.mask"
    correction = _MASK

    def hidden(self, scores: Array, mask: Array | None, visible: Array, dropout_mask: Array | None) -> Array:
        scores = scores if mask is None else scores + mask
        return super().hidden(scores, mask, visible, dropout_mask)


class MaskMultiplied(_WithoutMask):
    """The scores are multiplied by the mask, so that hidden keys get the score 0."""

    slug = "mask.multiplied"
    clause = "attention.mask"
    correction = _MASK

    def hidden(self, scores: Array, mask: Array | None, visible: Array, dropout_mask: Array | None) -> Array:
        scores = scores if mask is None else scores * mask
        return super().hidden(scores, mask, visible, dropout_mask)


class MaskAfterSoftmax(_WithoutMask):
    """The mask is applied to the weights after the softmax, whose rows no longer add up to 1."""

    slug = "mask.after-softmax"
    clause = "attention.mask"
    correction = _MASK

    def masked_weights(self, weights: Array, mask: Array | None) -> Array:
        return super().masked_weights(weights if mask is None else np.where(mask, weights, 0), mask)


class MaskFiniteFill(Deviation):
    """Hidden keys get the score -10000, which is above that of a visible key with a lower score."""

    slug = "mask.finite-fill"
    clause = "attention.finite-bias"
    correction = "hide with -inf, or leave hidden keys out of the sums"

    def hidden(self, scores: Array, mask: Array | None, visible: Array, dropout_mask: Array | None) -> Array:
        hidden = super().hidden(scores, mask, visible, dropout_mask)
        return np.where(visible | ~visible.any(axis=-1, keepdims=True), hidden, -1e4)


class MaskAlignedLeft(Deviation):
    """A mask with one axis less than the scores gets a new head axis: (h,q,k) is read as (b,q,k)."""

    slug = "mask.aligned-left"
    clause = "attention.mask"
    correction = "broadcast the mask from the right, as NumPy does"

    def by_mask(self, mask: Array) -> Array:
        return mask[:, None] if mask.ndim == 3 else mask


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


class WindowIgnored(Deviation):
    """The window is ignored."""

    slug = "window.ignored"
    clause = "attention.window"
    correction = _WINDOW

    def by_window(self, distance: Array, left: int | None, right: int | None) -> Array:
        return np.ones(distance.shape, bool)


class WindowOneTooWide(Deviation):
    """The window reaches one key too far."""

    slug = "window.one-too-wide"
    clause = "attention.window"
    correction = _WINDOW

    def by_window(self, distance: Array, left: int | None, right: int | None) -> Array:
        wider = (None if side is None else side + 1 for side in (left, right))
        return super().by_window(distance, *wider)


class WindowLeftOneTooWide(Deviation):
    """The window reaches one key too far to the left."""

    slug = "window.left-one-too-wide"
    clause = "attention.window"
    correction = _WINDOW

    def by_window(self, distance: Array, left: int | None, right: int | None) -> Array:
        return super().by_window(distance, None if left is None else left + 1, right)


class WindowOneTooNarrow(Deviation):
    """The window leaves out the keys at its ends."""

    slug = "window.one-too-narrow"
    clause = "attention.window"
    correction = _WINDOW

    def by_window(self, distance: Array, left: int | None, right: int | None) -> Array:
        narrower = (None if side is None else side - 1 for side in (left, right))
        return super().by_window(distance, *narrower)


class WindowLeftOneTooNarrow(Deviation):
    """The window leaves out the key at its left end: it counts keys instead of distances."""

    slug = "window.left-one-too-narrow"
    clause = "attention.window"
    correction = _WINDOW

    def by_window(self, distance: Array, left: int | None, right: int | None) -> Array:
        return super().by_window(distance, None if left is None else left - 1, right)


class WindowOffsetIgnored(Deviation):
    """The window ignores query_offset."""

    slug = "window.offset-ignored"
    clause = "attention.query-offset"
    correction = _WINDOW

    def window_offset(self, query_offset: Any) -> Any:
        return self.first_offset()


class WindowRightIgnored(Deviation):
    """The window is open to the right."""

    slug = "window.right-ignored"
    clause = "attention.window"
    correction = _WINDOW

    def by_window(self, distance: Array, left: int | None, right: int | None) -> Array:
        return super().by_window(distance, left, None)


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


class _EmptyRow(Deviation):
    """The scores of an empty row are set to a number instead of -inf."""

    clause = "attention.empty-row"
    correction = "return 0: where(any(visible), output, 0)"
    fill: float

    def hidden(self, scores: Array, mask: Array | None, visible: Array, dropout_mask: Array | None) -> Array:
        hidden = super().hidden(scores, mask, visible, dropout_mask)
        return np.where(visible.any(axis=-1, keepdims=True), hidden, self.fill)


class EmptyRowMean(_EmptyRow):
    """A query that sees no key gets the mean of the values."""

    slug = "empty-row.mean"
    fill = -1e9


class EmptyRowNaN(_EmptyRow):
    """A query that sees no key gets NaN."""

    slug = "empty-row.nan"
    fill = np.nan


VISIBILITY: tuple[type[Deviation], ...] = (
    MaskInverted, MaskIgnored, MaskAddedAsNumber, MaskMultiplied, MaskAfterSoftmax, MaskAlignedLeft,
    CausalBottomRight, CausalOffsetIgnored, CausalIgnored, CausalExcludesSelf, CausalSeesNext, CausalReversed,
    WindowIgnored, WindowOffsetIgnored, WindowOneTooWide, WindowOneTooNarrow, WindowLeftOneTooWide,
    WindowLeftOneTooNarrow, WindowRightIgnored, OffsetOfFirstRow, PaddingIgnored, PaddingLeft, PaddingOneTooLong,
    AnyRule, LastRule, EmptyRowNaN, EmptyRowMean, MaskFiniteFill,
)  # fmt: skip
