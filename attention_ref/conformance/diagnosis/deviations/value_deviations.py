"""Deviations of dropout, of the weighted sum of the values, and of the layout of heads."""

from __future__ import annotations

from typing import Any

import numpy as np

from attention_ref.conformance.diagnosis.deviations.deviation import Deviation
from attention_ref.conformance.diagnosis.formula import Array


class DropoutIgnored(Deviation):
    """Dropout is ignored."""

    slug = "dropout.ignored"
    clause = "attention.dropout"
    correction = "where(dropout_mask, weights / (1 - dropout), 0)"

    def attention(self, query: Array, key: Array, value: Array, *, dropout_mask: Any = None, **options: Any) -> Any:
        return super().attention(query, key, value, dropout_mask=None, **options)


class DropoutNotRescaled(Deviation):
    """The weights that are kept are not divided by 1 - dropout."""

    slug = "dropout.not-rescaled"
    clause = "attention.dropout"
    correction = "where(dropout_mask, weights / (1 - dropout), 0)"

    def dropped(self, weights: Array, dropout: float, dropout_mask: Array) -> Array:
        return np.where(dropout_mask, weights, 0)


class DropoutBeforeSoftmax(Deviation):
    """Dropout hides scores before the softmax, so that the weights that are kept add up to 1."""

    slug = "dropout.before-softmax"
    clause = "attention.dropout"
    correction = "apply dropout to the weights, after the softmax"

    def hidden(self, scores: Array, mask: Array | None, visible: Array, dropout_mask: Array | None) -> Array:
        scores = super().hidden(scores, mask, visible, dropout_mask)
        return scores if dropout_mask is None else np.where(dropout_mask, scores, -np.inf)

    def dropped(self, weights: Array, dropout: float, dropout_mask: Array) -> Array:
        return weights


class DropoutRenormalised(Deviation):
    """The weights that are kept are normalised again."""

    slug = "dropout.renormalised"
    clause = "attention.dropout"
    correction = "where(dropout_mask, weights / (1 - dropout), 0)"

    def dropped(self, weights: Array, dropout: float, dropout_mask: Array) -> Array:
        kept = np.where(dropout_mask, weights, 0)
        total = kept.sum(axis=-1, keepdims=True)
        return np.where(total == 0, 0, kept / total)


class DropoutByRate(Deviation):
    """The weights that are kept are divided by the rate of dropout instead of by what is kept."""

    slug = "dropout.divided-by-rate"
    clause = "attention.dropout"
    correction = "where(dropout_mask, weights / (1 - dropout), 0)"

    def dropped(self, weights: Array, dropout: float, dropout_mask: Array) -> Array:
        return super().dropped(weights, 1 - dropout, dropout_mask)


class WeightsAfterDropout(Deviation):
    """The weights are returned as they are after dropout."""

    slug = "weights.after-dropout"
    clause = "attention.weights"
    correction = "return the weights of the softmax, before dropout"

    def returned_weights(self, weights: Array, kept: Array) -> Array:
        return super().returned_weights(kept, kept)


class WeightsAveraged(Deviation):
    """The weights are averaged over the heads."""

    slug = "weights.averaged"
    clause = "attention.weights"
    correction = "return the weights of every head, (b,h,q,k)"

    def returned_weights(self, weights: Array, kept: Array) -> Array:
        weights = super().returned_weights(weights, kept)
        return weights.mean(axis=-3) if weights.size else weights


class ValueMissing(Deviation):
    """The weights are returned as the output; the values are not used."""

    slug = "value.missing"
    clause = "attention.formula"
    correction = "multiply the weights with the values: weights @ value"

    def weighted_sum(self, weights: Array, seen: Array, value: Array, key: Array) -> Array:
        return weights


class ValueIsKey(Deviation):
    """The keys are averaged instead of the values."""

    slug = "value.is-key"
    clause = "attention.formula"
    correction = "weights @ value"

    def weighted_sum(self, weights: Array, seen: Array, value: Array, key: Array) -> Array:
        return super().weighted_sum(weights, seen, key, key)


class ValueElementwise(Deviation):
    """Weights and values are multiplied element by element."""

    slug = "value.elementwise"
    clause = "attention.formula"
    correction = "a matrix product: weights @ value"

    def weighted_sum(self, weights: Array, seen: Array, value: Array, key: Array) -> Array:
        return weights * value


class PaddingTimesZero(Deviation):
    """Padding is multiplied by the weight 0 and added: NaN in it reaches the output."""

    slug = "padding.times-zero"
    clause = "attention.key-lengths"
    correction = "leave padding out of the sum: where(is_real, value, 0)"

    def weighted_sum(self, weights: Array, seen: Array, value: Array, key: Array) -> Array:
        return (weights[..., None] * value[..., None, :, :]).sum(axis=-2)


class NaNReplaced(Deviation):
    """NaN in the output is replaced by 0, which hides that an input was broken."""

    slug = "output.nan-replaced"
    clause = "attention.non-finite"
    correction = "prevent the NaN of empty rows, and let every other one through"

    def weighted_sum(self, weights: Array, seen: Array, value: Array, key: Array) -> Array:
        return np.nan_to_num(super().weighted_sum(weights, seen, value, key))


class QueryAdded(Deviation):
    """The query is added to the output, a residual connection inside the attention."""

    slug = "output.query-added"
    clause = "attention.formula"
    correction = "return the weighted sum; the layer around adds its input"

    def merged(self, output: Array, query: Array) -> Array:
        return super().merged(output + query if output.shape == query.shape else output, query)


class LayoutHeadsAndLengthSwapped(Deviation):
    """The axes are read as (b,l,h,d), length before heads, and attention runs over the heads."""

    slug = "layout.heads-and-length-swapped"
    clause = "attention.formula"
    correction = 'exchange the axes 1 and 2, or check it with a dialect: layout = "batch length heads size"'

    def attention(self, query: Array, key: Array, value: Array, **options: Any) -> dict[str, Array]:
        found = super().attention(*(np.swapaxes(array, -3, -2) for array in (query, key, value)), **options)
        return {**found, "output": np.swapaxes(found["output"], -3, -2)}


class OutputHeadsMergedWrongly(Deviation):
    """The output is reshaped from (b,h,q,v) to (b,q,h,v) without exchanging the axes."""

    slug = "output.heads-merged-wrongly"
    clause = "attention.formula"
    correction = "transpose before reshaping"

    def merged(self, output: Array, query: Array) -> Array:
        *batch, heads, length, size = output.shape
        mixed = output.reshape(*batch, length, heads, size)  # (b,h,q,v) read as (b,q,h,v)
        return np.swapaxes(mixed, -3, -2)


VALUES: tuple[type[Deviation], ...] = (
    DropoutIgnored, DropoutNotRescaled, DropoutRenormalised, DropoutBeforeSoftmax, DropoutByRate,
    WeightsAfterDropout, WeightsAveraged, ValueMissing, ValueIsKey, ValueElementwise, QueryAdded,
    PaddingTimesZero, NaNReplaced, LayoutHeadsAndLengthSwapped, OutputHeadsMergedWrongly,
)  # fmt: skip
