"""Deviations of the mask."""

from __future__ import annotations

from typing import Any

import numpy as np

from attention_ref.conformance.diagnosis.deviations.deviation import Deviation
from attention_ref.conformance.diagnosis.formula import Array

_MASK = "hide where the mask is False: where(mask, scores, -inf), before the softmax"


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


class MaskOfFirstHead(Deviation):
    """The mask of the first head is used for every head."""

    slug = "mask.of-first-head"
    clause = "attention.mask"
    correction = "broadcast the mask to (b,h,q,k): it may differ between heads"

    def by_mask(self, mask: Array) -> Array:
        return mask[..., :1, :, :] if mask.ndim > 2 else mask


class MaskOfFirstRow(Deviation):
    """The mask of the first batch row is used for every row."""

    slug = "mask.of-first-row"
    clause = "attention.mask"
    correction = "broadcast the mask to (b,h,q,k): it may differ between batch rows"

    def by_mask(self, mask: Array) -> Array:
        return mask[:1] if mask.ndim > 3 else mask


class MaskTransposed(Deviation):
    """The mask is read with queries and keys exchanged, where it is square."""

    slug = "mask.transposed"
    clause = "attention.mask"
    correction = "mask[..., i, j] says whether query i may attend to key j"

    def by_mask(self, mask: Array) -> Array:
        is_square = mask.ndim > 1 and mask.shape[-1] == mask.shape[-2]
        return mask.swapaxes(-1, -2) if is_square else mask


class MaskAlignedLeft(Deviation):
    """A mask with one axis less than the scores gets a new head axis: (h,q,k) is read as (b,q,k)."""

    slug = "mask.aligned-left"
    clause = "attention.mask"
    correction = "broadcast the mask from the right, as NumPy does"

    def by_mask(self, mask: Array) -> Array:
        return mask[:, None] if mask.ndim == 3 else mask


MASK: tuple[type[Deviation], ...] = (
    MaskInverted, MaskIgnored, MaskAddedAsNumber, MaskMultiplied, MaskAfterSoftmax, MaskAlignedLeft, MaskOfFirstHead,
    MaskOfFirstRow, MaskTransposed,
)  # fmt: skip
