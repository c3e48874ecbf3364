"""Wrong scores and softmaxes beyond those of the gallery's pages."""

from __future__ import annotations

import numpy as np

from tests.wrong_attentions.right import RightAttention


class ScaleInverted(RightAttention):
    slug = "scale.inverted"

    def default_scale(self, query, key):
        return query.shape[-1] ** 0.5


class BiasOfFirstHead(RightAttention):
    slug = "bias.of-first-head"

    def attention(self, query, key, value, *, bias=None, **options):
        first = bias if bias is None or bias.ndim < 3 else np.take(bias, [0], axis=-3)
        return super().attention(query, key, value, bias=first, **options)


class SoftcapNotDivided(RightAttention):
    slug = "softcap.not-divided"

    def capped(self, scores, softcap):
        return scores.dtype.type(softcap) * np.tanh(scores)


class SoftcapBeforeScale(RightAttention):
    slug = "softcap.before-scale"

    def finished(self, scores, scale, softcap, bias, visible):
        capped = scores if softcap is None else self.capped(scores, softcap)
        return super().finished(capped, scale, None, bias, visible)


class FirstHeadForAll(RightAttention):
    slug = "heads.first-for-all"

    def for_heads(self, array, heads):
        return np.take(array, [0] * heads, axis=-3)


class SinkOfFirstHead(RightAttention):
    slug = "sinks.of-first-head"

    def attention(self, query, key, value, *, sinks=None, **options):
        first = None if sinks is None else np.full_like(sinks, sinks[0])
        return super().attention(query, key, value, sinks=first, **options)


class OneAdded(RightAttention):
    slug = "softmax.one-added"

    def softmax(self, scores, visible, sinks):
        if sinks is not None:
            return super().softmax(scores, visible, np.log1p(np.exp(sinks)))
        return super().softmax(scores, visible, np.zeros((1, 1, 1), scores.dtype))


class PowersOfTwo(RightAttention):
    slug = "softmax.base-two"

    def exponential(self, shifted):
        return np.exp2(shifted)

    def log_sum_exp(self, maximum, denominator, visible):
        total = (maximum * np.log(2) + np.log(denominator))[..., 0]
        return np.where(visible.any(axis=-1), total, -np.inf).astype(maximum.dtype)


class SoftmaxTwice(RightAttention):
    slug = "softmax.twice"

    def softmax(self, scores, visible, sinks):
        weights, log_sum_exp = super().softmax(scores, visible, sinks)
        return super().softmax(np.where(visible, weights, -np.inf), visible, None)[0], log_sum_exp


SOFTMAX: tuple[type[RightAttention], ...] = tuple(
    entry for entry in list(vars().values()) if isinstance(entry, type) and hasattr(entry, "slug")
)
