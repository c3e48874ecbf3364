"""Deviations of the scores of hidden keys: finite ones, and those of queries that see no key."""

from __future__ import annotations

import numpy as np

from attention_ref.conformance.diagnosis.deviations.deviation import Deviation
from attention_ref.conformance.diagnosis.formula import Array


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


class MaskFiniteFill(Deviation):
    """Hidden keys get the score -10000, which is above that of a visible key with a lower score."""

    slug = "mask.finite-fill"
    clause = "attention.finite-bias"
    correction = "hide with -inf, or leave hidden keys out of the sums"

    def hidden(self, scores: Array, mask: Array | None, visible: Array, dropout_mask: Array | None) -> Array:
        hidden = super().hidden(scores, mask, visible, dropout_mask)
        return np.where(visible | ~visible.any(axis=-1, keepdims=True), hidden, -1e4)


HIDDEN_SCORES: tuple[type[Deviation], ...] = (EmptyRowNaN, EmptyRowMean, MaskFiniteFill)
