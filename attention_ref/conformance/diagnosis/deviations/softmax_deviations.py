"""Deviations of the softmax, of the log-sum-exp and of sinks."""

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


class SinksCapped(Deviation):
    """The sinks pass through the softcap like scores."""

    slug = "sinks.capped"
    clause = "attention.sinks"
    correction = "let the sinks join the denominator as they are"

    def attention(self, query: Array, key: Array, value: Array, **options: Any) -> dict[str, Array]:
        if options.get("sinks") is not None:
            options["sinks"] = self.capped(options["sinks"], options.get("softcap"))
        return super().attention(query, key, value, **options)


class SinksOfFirstHead(Deviation):
    """The sink of the first head is used for every head."""

    slug = "sinks.of-first-head"
    clause = "attention.sinks"
    correction = "take a sink for each head: sinks[:, None, None]"

    def sinks(self, sinks: Array) -> Array | None:
        return super().sinks(sinks[:1])


class SoftmaxOneAdded(Deviation):
    """1 is added to the denominators, as a key and value of 0 do: add_zero_attn of nn.MultiheadAttention, softmax1."""

    slug = "softmax.one-added"
    clause = "attention.formula"
    correction = "divide by the sum of the exponentials alone"

    def softmax(self, scores: Array, visible: Array, sinks: Array | None) -> tuple[Array, Array]:
        zero = np.zeros((1, 1, 1))
        return super().softmax(scores, visible, zero if sinks is None else np.logaddexp(sinks, zero))


class SoftmaxBaseTwo(Deviation):
    """The softmax takes powers of 2 instead of e."""

    slug = "softmax.base-two"
    clause = "attention.formula"
    correction = "exp(s), or exp2(s log2(e))"

    def softmax(self, scores: Array, visible: Array, sinks: Array | None) -> tuple[Array, Array]:
        sinks = None if sinks is None else sinks * np.log(2)
        return super().softmax(scores * np.log(2), visible, sinks)


class SoftmaxTwice(Deviation):
    """The softmax is applied twice."""

    slug = "softmax.twice"
    clause = "attention.formula"
    correction = "normalise the scores once; they are no probabilities yet"

    def softmax(self, scores: Array, visible: Array, sinks: Array | None) -> tuple[Array, Array]:
        weights, log_sum_exp = super().softmax(scores, visible, sinks)
        again = np.where(scores == -np.inf, -np.inf, weights)
        return super().softmax(again, visible, None)[0], log_sum_exp


SOFTMAX: tuple[type[Deviation], ...] = (
    SoftmaxMissing, SoftmaxOverEverything, SoftmaxOverQueries, SoftmaxOverHeads, SoftmaxNoMaxSubtraction,
    SoftmaxMaximumOfEverything, LogSumExpBaseTwo, LogSumExpWithoutMaximum, LogSumExpFinite,
    SinksIgnored, SinksCarryValue, SinksCapped, SinksOfFirstHead,
    SoftmaxOneAdded, SoftmaxBaseTwo, SoftmaxTwice,
)  # fmt: skip
