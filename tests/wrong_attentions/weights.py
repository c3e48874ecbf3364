"""Wrong weights: the softmax, its rows, sinks, and its denominator."""

from __future__ import annotations

import numpy as np

from tests.wrong_attentions.record import WrongAttention


class SoftmaxMissing(WrongAttention):
    title = "No softmax"
    clause = "attention.formula"
    references = "articles A and D"
    instead = "takes scores for weights: they are negative, and do not add up to 1"
    correction = "softmax over the keys"
    pervasive = True

    def softmax(self, scores, visible, _):
        weights = np.where(visible, scores, 0)
        return weights, np.log(np.abs(weights).sum(axis=-1))


class SoftmaxOverTheMatrix(WrongAttention):
    title = "Normalised over the whole matrix"
    clause = "attention.formula"
    references = "article B"
    instead = "divides by the sum over all queries: the output shrinks with their number"
    correction = "one sum for each query"
    pervasive = True

    def denominator(self, exponentials, *_):
        return exponentials.sum(axis=(-2, -1), keepdims=True)

    def row_maximum(self, scores, visible, _):
        return scores.max(axis=(-2, -1), keepdims=True, initial=-np.inf, where=visible)


class SoftmaxOverQueries(WrongAttention):
    title = "Softmax over the wrong axis"
    clause = "attention.formula"
    references = "no release that we know of"
    instead = "normalises each key over the queries"
    correction = "softmax over the last axis of (q,k)"
    pervasive = True

    def softmax(self, scores, visible, _):
        weights, _ = super().softmax(np.swapaxes(scores, -2, -1), np.swapaxes(visible, -2, -1), None)
        return np.swapaxes(weights, -2, -1), np.log(np.exp(scores).sum(axis=-1))


class MaximumMissing(WrongAttention):
    title = "No row maximum"
    clause = "attention.stability"
    references = "articles B and E"
    instead = "overflows to inf / inf = NaN for scores above 88 in float32, and divides 0 by 0 far below"
    correction = "subtract the row's maximum before exp"

    def row_maximum(self, scores, *_):
        return np.zeros((), scores.dtype)


class ExponentialInBaseTwo(WrongAttention):
    title = "log2(e) is folded into the scores"
    clause = "attention.precision"
    references = "kernels that have a fast exp2"
    instead = "rounds large scores once more before the maximum is taken: those that are exact lose three digits"
    correction = "subtract the maximum first"
    bits = np.log2(np.e)

    def softmax(self, scores, visible, sinks):
        bits = scores.dtype.type(self.bits)
        return super().softmax(scores * bits, visible, None if sinks is None else sinks * bits)

    def exponential(self, shifted):
        return np.exp2(shifted)

    def log_sum_exp(self, maximum, *arrays):
        return super().log_sum_exp(maximum / maximum.dtype.type(self.bits), *arrays)


class MaximumOfEverything(WrongAttention):
    title = "The maximum of the whole array"
    clause = "attention.stability"
    references = "no release that we know of"
    instead = "divides 0 by 0 in a row that lies far below the largest score; one NaN reaches every row"
    correction = "the maximum of each row"
    pervasive = True

    def row_maximum(self, scores, visible, sinks):
        return super().row_maximum(scores, visible, sinks).max(initial=-np.inf)


class MeanOnEmptyRows(WrongAttention):
    title = "Hidden keys score -1e9"
    clause = "attention.empty-row"
    references = "jax.nn 0.10.2, keras.ops 3.15.1, Flax 0.12.8, each with its own large negative number"
    instead = "gives all keys the same weight where all are hidden: the mean of the values, padding included"
    correction = "a query that sees nothing returns 0"

    def attend(self, scores, visible, *rest):
        scores = np.where(visible, scores, scores.dtype.type(-1e9))
        return super().attend(scores, visible | ~visible.any(axis=-1, keepdims=True), *rest)


class NanOnEmptyRows(WrongAttention):
    title = "An empty row returns NaN"
    clause = "attention.empty-row"
    references = "xformers' reference; torch.nn.MultiheadAttention 2.13.0 with need_weights; pytorch/pytorch#103749"
    instead = "divides 0 by 0, which poisons the next layer"
    correction = "a query that sees nothing returns 0"

    def attend(self, scores, visible, *rest):
        is_empty = ~visible.any(axis=-1, keepdims=True)
        return super().attend(np.where(is_empty, np.nan, scores), visible | is_empty, *rest)


class NoKeysRaise(WrongAttention):
    title = "The maximum of no keys"
    clause = "attention.empty-axis"
    references = "onnx.reference 1.23.2, torch.flex 2.13.0; onnxruntime 1.31.1 refuses"
    instead = "raises where k = 0"
    correction = "start the maximum at -inf"

    def row_maximum(self, scores, visible, sinks):
        scores.max(axis=-1)
        return super().row_maximum(scores, visible, sinks)


class NanSwallowed(WrongAttention):
    title = "NaN is made a number"
    clause = "attention.non-finite"
    references = "nan_to_num against the NaN of empty rows"
    instead = "turns NaN into 0 and hides that the input was broken"
    correction = "prevent the NaN of empty rows; let every other one through"

    def mixed(self, *arrays):
        return np.nan_to_num(super().mixed(*arrays))


class SinksDropped(WrongAttention):
    title = "Sinks are dropped"
    clause = "attention.sinks"
    references = "torch.nn.functional, keras.ops, jax.nn and ONNX have no sinks to pass them to"
    instead = "lets the weights of every row add up to 1"
    correction = "add exp(sink) to the denominator"

    def softmax(self, scores, visible, _):
        return super().softmax(scores, visible, None)


class SinkCapped(WrongAttention):
    title = "The sink is capped"
    clause = "attention.sinks"
    references = "no release that we know of"
    instead = "passes the sink through the softcap, as if it were a score"
    correction = "a sink joins the denominator as it is"

    def attention(self, query, key, value, *, sinks=None, softcap=None, **options):
        if sinks is not None and softcap is not None:
            sinks = self.capped(self.widened(sinks), softcap)
        return super().attention(query, key, value, sinks=sinks, softcap=softcap, **options)


class LogSumExpInBits(WrongAttention):
    title = "Log-sum-exp in base 2"
    clause = "attention.log-sum-exp"
    references = "FlashInfer, by convention; flashinfer-ai/flashinfer#2113"
    instead = "returns log2 of the denominator: parts that are merged by it get wrong weights"
    correction = "the natural logarithm"

    def log_sum_exp(self, *arrays):
        return super().log_sum_exp(*arrays) / np.float32(np.log(2))


class LogSumExpShifted(WrongAttention):
    title = "Log-sum-exp without the maximum"
    clause = "attention.log-sum-exp"
    references = "no release that we know of"
    instead = "returns the logarithm of the shifted sum"
    correction = "add the row's maximum back"

    def log_sum_exp(self, maximum, denominator, visible):
        return super().log_sum_exp(np.zeros_like(maximum), denominator, visible)


class LogSumExpFinite(WrongAttention):
    title = "A finite log-sum-exp for an empty row"
    clause = "attention.log-sum-exp"
    references = "flashinfer-ai/flashinfer#4452; torch.flex until pytorch/pytorch#134650"
    instead = "returns 0, so that a merge gives the empty row a share"
    correction = "-inf: the logarithm of no sum"

    def log_sum_exp(self, *arrays):
        log_sum_exp = super().log_sum_exp(*arrays)
        return np.where(log_sum_exp == -np.inf, 0, log_sum_exp)
