"""Deviations of weights and values: softmax, sinks, dropout, the weighted sum, the layout of heads."""

from __future__ import annotations

from typing import Any

import numpy as np

from attention_ref.conformance.diagnosis.deviations.deviation import Deviation
from attention_ref.conformance.diagnosis.formula import Array


class SoftmaxMissing(Deviation):
    """The scores are used as weights, without a softmax."""

    slug = "softmax.missing"
    clause = "attention.formula"
    correction = "normalise the scores of each query over the keys by a softmax"

    def softmax(self, scores: Array, visible: Array, sinks: Array | None) -> tuple[Array, Array]:
        return np.where(scores == -np.inf, 0, scores), super().softmax(scores, visible, sinks)[1]


class _SoftmaxOver(Deviation):
    """A softmax over other axes than the keys of one query."""

    clause = "attention.formula"
    correction = "normalise over the last axis, the keys of one query"
    axes: tuple[int, ...]

    def softmax(self, scores: Array, visible: Array, sinks: Array | None) -> tuple[Array, Array]:
        finite = np.where(scores == -np.inf, -np.inf, scores)
        maximum = finite.max(axis=self.axes, keepdims=True, initial=-np.inf)
        exponentials = np.where(scores == -np.inf, 0, np.exp(finite - np.where(maximum == -np.inf, 0, maximum)))
        denominator = exponentials.sum(axis=self.axes, keepdims=True)
        weights = np.where(denominator == 0, 0, exponentials / denominator)
        log_sum = np.log(denominator) + np.where(maximum == -np.inf, 0, maximum)
        return weights, np.broadcast_to(log_sum, scores.shape)[..., 0] if scores.shape[-1] else log_sum[..., 0]


class SoftmaxOverEverything(_SoftmaxOver):
    """The softmax runs over the queries and keys of a head together."""

    slug = "softmax.over-everything"
    axes = (-2, -1)


class SoftmaxOverQueries(_SoftmaxOver):
    """The softmax runs over the queries."""

    slug = "softmax.over-queries"
    axes = (-2,)


class SoftmaxOverHeads(_SoftmaxOver):
    """The softmax runs over the heads."""

    slug = "softmax.over-heads"
    axes = (-3,)


class SoftmaxNoMaxSubtraction(Deviation):
    """The maximum of a row is not subtracted, so that large scores overflow."""

    slug = "softmax.no-max-subtraction"
    clause = "attention.stability"
    correction = "exp(scores - scores.max(axis=-1, keepdims=True))"

    def softmax(self, scores: Array, visible: Array, sinks: Array | None) -> tuple[Array, Array]:
        exponentials = self.exponential(scores)
        denominator = exponentials.sum(axis=-1, keepdims=True)
        if sinks is not None:
            denominator = denominator + self.exponential(sinks)
        is_empty = np.all(scores == -np.inf, axis=-1, keepdims=True)
        weights = np.where(is_empty, 0, exponentials / denominator)
        return weights, np.where(is_empty, -np.inf, np.log(denominator))[..., 0]

    def exponential(self, scores: Array) -> Array:
        highest = np.log(np.finfo(self.dtype).max.astype(np.float64))
        return np.where(scores > highest, np.inf, np.exp(scores))


class SoftmaxMaximumOfEverything(Deviation):
    """The largest score of all rows is subtracted, so that rows far below it become 0/0."""

    slug = "softmax.maximum-of-everything"
    clause = "attention.stability"
    correction = "subtract the maximum of each row: scores.max(axis=-1, keepdims=True)"

    def row_maximum(self, scores: Array, sinks: Array | None) -> Array:
        return super().row_maximum(scores, sinks).max(initial=-np.inf)


class LogSumExpBaseTwo(Deviation):
    """The log-sum-exp is a logarithm to base 2."""

    slug = "log-sum-exp.base-two"
    clause = "attention.log-sum-exp"
    correction = "return the natural logarithm"

    def returned_log_sum_exp(self, log_sum_exp: Array) -> Array:
        return super().returned_log_sum_exp(log_sum_exp) / np.log(2)


class LogSumExpWithoutMaximum(Deviation):
    """The log-sum-exp lacks the maximum of its row."""

    slug = "log-sum-exp.without-maximum"
    clause = "attention.log-sum-exp"
    correction = "add the maximum back: maximum + log(sum(exp(scores - maximum)))"

    def log_sum_exp(self, maximum: Array, denominator: Array) -> Array:
        return np.log(denominator)


class LogSumExpFinite(Deviation):
    """The log-sum-exp of an empty row is 0."""

    slug = "log-sum-exp.finite"
    clause = "attention.log-sum-exp"
    correction = "return -inf for a row without a visible key"

    def returned_log_sum_exp(self, log_sum_exp: Array) -> Array:
        log_sum_exp = super().returned_log_sum_exp(log_sum_exp)
        return np.where(log_sum_exp == -np.inf, 0, log_sum_exp)


class SinksIgnored(Deviation):
    """The sinks are ignored."""

    slug = "sinks.ignored"
    clause = "attention.sinks"
    correction = "add exp(sink - maximum) to the denominator"

    def sinks(self, sinks: Array) -> Array | None:
        return None


class SinksCarryValue(Deviation):
    """The weight of a sink is given to the last key."""

    slug = "sinks.carry-value"
    clause = "attention.sinks"
    correction = "a sink joins the denominator and carries no value"

    def with_sinks(self, output: Array, weights: Array, sinks: Array, log_sum_exp: Array, value: Array) -> Array:
        sink_weight = np.exp(sinks - log_sum_exp[..., None])
        return output + np.where(np.isfinite(log_sum_exp[..., None]), sink_weight, 0) * value[..., -1:, :]


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


class LayoutHeadsAndLengthSwapped(Deviation):
    """The axes are read as (b,l,h,d), length before heads, and attention runs over the heads."""

    slug = "layout.heads-and-length-swapped"
    clause = "attention.formula"
    correction = 'exchange the axes 1 and 2, or check it with a dialect: layout = "batch length heads size"'

    def attention(self, query: Array, key: Array, value: Array, **options: Any) -> dict[str, Array]:
        found = super().attention(*(np.swapaxes(array, -3, -2) for array in (query, key, value)), **options)
        return {**found, "output": np.swapaxes(found["output"], -3, -2)}


class SinksCapped(Deviation):
    """The sinks pass through the softcap like scores."""

    slug = "sinks.capped"
    clause = "attention.sinks"
    correction = "let the sinks join the denominator as they are"

    def attention(self, query: Array, key: Array, value: Array, **options: Any) -> dict[str, Array]:
        if options.get("sinks") is not None:
            options["sinks"] = self.capped(options["sinks"], options.get("softcap"))
        return super().attention(query, key, value, **options)


class QueryAdded(Deviation):
    """The query is added to the output, a residual connection inside the attention."""

    slug = "output.query-added"
    clause = "attention.formula"
    correction = "return the weighted sum; the layer around adds its input"

    def merged(self, output: Array, query: Array) -> Array:
        return super().merged(output + query if output.shape == query.shape else output, query)


class OutputHeadsMergedWrongly(Deviation):
    """The output is reshaped from (b,h,q,v) to (b,q,h,v) without exchanging the axes."""

    slug = "output.heads-merged-wrongly"
    clause = "attention.formula"
    correction = "transpose before reshaping"

    def merged(self, output: Array, query: Array) -> Array:
        *batch, heads, length, size = output.shape
        mixed = output.reshape(*batch, length, heads, size)  # (b,h,q,v) read as (b,q,h,v)
        return np.swapaxes(mixed, -3, -2)


WEIGHTS: tuple[type[Deviation], ...] = (
    SoftmaxMissing, SoftmaxOverEverything, SoftmaxOverQueries, SoftmaxOverHeads, SoftmaxNoMaxSubtraction,
    SoftmaxMaximumOfEverything, LogSumExpBaseTwo, LogSumExpWithoutMaximum, LogSumExpFinite,
    SinksIgnored, SinksCarryValue, SinksCapped,
    DropoutIgnored, DropoutNotRescaled, DropoutRenormalised, DropoutBeforeSoftmax, DropoutByRate,
    WeightsAfterDropout, WeightsAveraged, ValueMissing, ValueIsKey, ValueElementwise, QueryAdded,
    PaddingTimesZero, NaNReplaced, LayoutHeadsAndLengthSwapped, OutputHeadsMergedWrongly,
)  # fmt: skip
