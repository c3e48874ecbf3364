"""A right attention in small steps, for the eye and without a thought of speed.

Every wrong attention of the gallery replaces a step. It shares nothing with the package: an array, NumPy, the formula.
"""

from __future__ import annotations

import numpy as np


class RightAttention:
    """`scores` says how much a query wants a key, `visible` whether it may have it, `attend` gives it the values."""

    def attention(
        self,
        query,
        key,
        value,
        *,
        mask=None,
        bias=None,
        causal=False,
        query_offset=0,
        window=None,
        key_lengths=None,
        scale=None,
        softcap=None,
        sinks=None,
        dropout=0.0,
        dropout_mask=None,
        return_weights=False,
        return_log_sum_exp=False,
    ):
        with np.errstate(all="ignore"):
            scale = self.default_scale(query, key) if scale is None else scale
            scores = self.scores(query, key)  # (b,h,q,k)
            visible = self.visible(scores.shape, mask, bias, causal, query_offset, window, key_lengths)
            scores = self.finished(scores, scale, softcap, bias, visible)
            results = self.attend(scores, visible, value, sinks, dropout, dropout_mask)
            return self.chosen(results, query, return_weights, return_log_sum_exp)

    def additive_attention(
        self,
        query,
        key,
        value,
        *,
        score_kernel,
        query_kernel=None,
        key_kernel=None,
        mask=None,
        bias=None,
        causal=False,
        query_offset=0,
        window=None,
        key_lengths=None,
        dropout=0.0,
        dropout_mask=None,
        return_weights=False,
        return_log_sum_exp=False,
    ):
        with np.errstate(all="ignore"):
            scores = self.additive_scores(query, key, query_kernel, key_kernel, score_kernel)
            visible = self.visible(scores.shape, mask, bias, causal, query_offset, window, key_lengths)
            scores = self.hidden(scores if bias is None else self.biased(scores, bias), visible)
            results = self.attend(scores, visible, value, None, dropout, dropout_mask)
            return self.chosen(results, query, return_weights, return_log_sum_exp)

    def multiplicative_attention(
        self,
        query,
        key,
        value,
        *,
        score_kernel=None,
        mask=None,
        bias=None,
        causal=False,
        query_offset=0,
        window=None,
        key_lengths=None,
        dropout=0.0,
        dropout_mask=None,
        return_weights=False,
        return_log_sum_exp=False,
    ):
        with np.errstate(all="ignore"):
            scores = self.multiplicative_scores(query, key, score_kernel)
            visible = self.visible(scores.shape, mask, bias, causal, query_offset, window, key_lengths)
            scores = self.hidden(scores if bias is None else self.biased(scores, bias), visible)
            results = self.attend(scores, visible, value, None, dropout, dropout_mask)
            return self.chosen(results, query, return_weights, return_log_sum_exp)

    # scores

    def widened(self, array):
        return array.astype(np.float32) if array.dtype.itemsize == 2 else array

    def for_heads(self, array, heads):
        return np.repeat(array, heads // array.shape[-3], axis=-3)  # (b,g,k,d) -> (b,h,k,d)

    def scores(self, query, key):
        query, key = self.widened(query), self.widened(key)
        return self.dot_products(query, self.for_heads(key, query.shape[-3]))

    def dot_products(self, query, key):
        return np.einsum("...qd,...kd->...qk", query, key)

    def additive_scores(self, query, key, query_kernel, key_kernel, score_kernel):
        query, key = self.projected(query, query_kernel), self.projected(key, key_kernel)
        key = self.for_heads(key, query.shape[-3])
        layer = self.activated(query[..., :, None, :] + key[..., None, :, :])  # (b,h,q,k,a)
        return layer @ self.widened(score_kernel)

    def activated(self, layer):
        return np.tanh(layer)

    def multiplicative_scores(self, query, key, score_kernel):
        query = self.projected(query, score_kernel)
        return self.scores(query, key)

    def projected(self, rows, kernel):
        rows = self.widened(rows)
        return rows if kernel is None else rows @ self.widened(kernel)

    def default_scale(self, query, key):
        return 1 / np.sqrt(query.shape[-1])

    def finished(self, scores, scale, softcap, bias, visible):
        scores = self.scaled(scores, scale)
        if softcap is not None:
            scores = self.capped(scores, softcap)
        if bias is not None:
            scores = self.biased(scores, bias)
        return self.hidden(scores, visible)

    def scaled(self, scores, scale):
        return scores * scores.dtype.type(scale)

    def capped(self, scores, softcap):
        cap = scores.dtype.type(softcap)
        return cap * np.tanh(scores / cap)

    def biased(self, scores, bias):
        return scores + self.widened(bias)

    def hidden(self, scores, visible):
        return np.where(visible, scores, -np.inf)

    # visibility

    def visible(self, shape, mask, bias, causal, query_offset, window, key_lengths):
        distance = self.distance(*shape[-2:], query_offset)
        rules = [np.ones(shape, bool)]
        if mask is not None:
            rules.append(self.by_mask(mask))
        if bias is not None:
            rules.append(self.by_bias(bias))
        if causal:
            rules.append(self.by_causality(distance))
        if window is not None:
            rules.append(self.by_window(distance, *window))
        if key_lengths is not None:
            rules.append(self.by_length(shape[-1], key_lengths))
        return self.together(rules)

    def distance(self, query_length, key_length, query_offset):
        offset = np.asarray(query_offset)
        offset = offset[..., None, None, None] if offset.ndim else offset  # (b,) -> (b,1,1,1)
        return np.arange(key_length) - (np.arange(query_length)[:, None] + offset)

    def by_mask(self, mask):
        return mask

    def by_bias(self, bias):
        return bias != -np.inf

    def by_causality(self, distance):
        return distance <= 0

    def by_window(self, distance, left, right):
        after = True if left is None else distance >= -left
        before = True if right is None else distance <= right
        return after & before

    def by_length(self, key_length, key_lengths):
        return np.arange(key_length) < np.asarray(key_lengths)[..., None, None, None]

    def together(self, rules):
        return np.logical_and.reduce(np.broadcast_arrays(*rules))

    # weights and values

    def attend(self, scores, visible, value, sinks, dropout, dropout_mask):
        value = self.for_heads(self.widened(value), scores.shape[-3])
        sinks = None if sinks is None else self.widened(sinks)[:, None, None]  # (h,) -> (h,1,1)
        weights, log_sum_exp = self.softmax(scores, visible, sinks)
        dropped, kept = weights, visible
        if dropout_mask is not None:
            dropped, kept = self.dropped(weights, dropout, dropout_mask), visible & dropout_mask
        return self.mixed(dropped, kept, value), self.reported(weights, dropped), log_sum_exp

    def softmax(self, scores, visible, sinks):
        maximum = self.row_maximum(scores, visible, sinks)
        exponentials = np.where(visible, self.exponential(scores - maximum), 0)
        denominator = self.denominator(exponentials, sinks, maximum)
        weights = np.where(visible, exponentials / denominator, 0)
        return weights, self.log_sum_exp(maximum, denominator, visible)

    def exponential(self, shifted):
        return np.exp(shifted)

    def row_maximum(self, scores, visible, sinks):
        maximum = scores.max(axis=-1, keepdims=True, initial=-np.inf, where=visible)
        return maximum if sinks is None else np.maximum(maximum, sinks)

    def denominator(self, exponentials, sinks, maximum):
        total = exponentials.sum(axis=-1, keepdims=True)
        return total if sinks is None else total + self.exponential(sinks - maximum)

    def log_sum_exp(self, maximum, denominator, visible):
        return np.where(visible.any(axis=-1), (maximum + np.log(denominator))[..., 0], -np.inf)

    def dropped(self, weights, dropout, dropout_mask):
        return weights * dropout_mask / weights.dtype.type(1 - dropout)

    def reported(self, weights, dropped):
        return weights

    def mixed(self, weights, kept, value):
        products = weights[..., None] * value[..., None, :, :]  # (b,h,q,k,1) * (b,h,1,k,v)
        return np.where(kept[..., None], products, 0).sum(axis=-2)

    def chosen(self, results, query, return_weights, return_log_sum_exp):
        output, weights, log_sum_exp = results
        wanted = [output.astype(query.dtype)]
        wanted += [weights.astype(query.dtype)] if return_weights else []
        wanted += [log_sum_exp] if return_log_sum_exp else []
        return wanted[0] if len(wanted) == 1 else tuple(wanted)
