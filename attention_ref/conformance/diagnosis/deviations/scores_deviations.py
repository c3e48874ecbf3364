"""Deviations of the scores: softcap, bias, grouped heads."""

from __future__ import annotations

from typing import Any

import numpy as np

from attention_ref.conformance.diagnosis.deviations.deviation import Deviation
from attention_ref.conformance.diagnosis.formula import Array


class BiasOfFirstHead(Deviation):
    """The bias of the first head is used for every head."""

    slug = "bias.of-first-head"
    clause = "attention.bias"
    correction = "broadcast the bias to (b,h,q,k): it may differ between heads"

    def attention(self, query: Array, key: Array, value: Array, *, bias: Array | None = None, **options: Any) -> Any:
        first = bias[..., :1, :, :] if bias is not None and bias.ndim > 2 else bias
        return super().attention(query, key, value, bias=first, **options)


class GivenBiasOfFirstHead(Deviation):
    """The bias that is given for the first head is used for every head; biases of distance are right."""

    slug = "bias.of-first-head"
    clause = "attention.bias"
    correction = "broadcast the bias to (b,h,q,k): it may differ between heads"

    def bias_of_scores(self, bias: Array | None, *arguments: Any) -> Array | None:
        first = bias[..., :1, :, :] if bias is not None and bias.ndim > 2 else bias
        return super().bias_of_scores(first, *arguments)


class BiasIgnored(Deviation):
    """The bias is ignored."""

    slug = "bias.ignored"
    clause = "attention.bias"
    correction = "add the bias to the scaled scores"

    def attention(self, query: Array, key: Array, value: Array, *, bias: Array | None = None, **options: Any) -> Any:
        return super().attention(query, key, value, bias=None, **options)


class BiasNegated(Deviation):
    """The bias is subtracted."""

    slug = "bias.negated"
    clause = "attention.bias"
    correction = "add the bias to the scaled scores"

    def biased(self, scores: Array, bias: Array | None) -> Array:
        return super().biased(scores, None if bias is None else -bias)


class BiasBeforeScale(Deviation):
    """The bias is added before the scores are scaled, and is scaled with them."""

    slug = "bias.before-scale"
    clause = "attention.order"
    correction = "scale first, then add the bias"

    def finished(
        self, scores: Array, scale: float, softcap: Any, bias: Any, mask: Any, visible: Array, dropout_mask: Any
    ) -> Array:
        biased = self.biased(scores, bias)
        return super().finished(biased, scale, softcap, None, mask, visible, dropout_mask)


class BiasAsMask(Deviation):
    """The bias is cast to a boolean mask: keys with the bias 0 are hidden, and nothing is added."""

    slug = "bias.as-mask"
    clause = "attention.bias"
    correction = "add the bias to the scaled scores; only -inf hides"

    def by_bias(self, bias: Array) -> Array:
        return bias.astype(bool)

    def biased(self, scores: Array, bias: Array | None) -> Array:
        return scores


class BiasLargeHides(Deviation):
    """A bias of -10000 or less hides a key as -inf does."""

    slug = "bias.large-hides"
    clause = "attention.finite-bias"
    correction = "only -inf hides"

    def by_bias(self, bias: Array) -> Array:
        return bias > -1e4


class BiasAllExcludedNaN(Deviation):
    """A row whose biases are all -inf gives NaN: -inf is subtracted from -inf."""

    slug = "bias.all-excluded-nan"
    clause = "attention.exclusion"
    correction = "treat keys with the bias -inf as hidden: a row without a visible key returns 0"

    def by_bias(self, bias: Array) -> Array:
        return np.ones_like(bias, bool)

    def hidden(self, scores: Array, mask: Any, visible: Array, dropout_mask: Any) -> Array:
        hidden = super().hidden(scores, mask, visible, dropout_mask)
        excluded = visible.any(axis=-1, keepdims=True) & np.all(hidden == -np.inf, axis=-1, keepdims=True)
        return np.where(excluded, np.nan, hidden)


class SoftcapIgnored(Deviation):
    """The softcap is ignored."""

    slug = "softcap.ignored"
    clause = "attention.softcap"
    correction = "softcap * tanh(scores / softcap)"

    def capped(self, scores: Array, softcap: float | None) -> Array:
        return scores


class SoftcapNotRescaled(Deviation):
    """The scores are capped to (-1, 1): tanh(s / softcap) is not multiplied by the softcap."""

    slug = "softcap.not-rescaled"
    clause = "attention.softcap"
    correction = "softcap * tanh(scores / softcap)"

    def capped(self, scores: Array, softcap: float | None) -> Array:
        return scores if softcap is None else np.tanh(scores / softcap)


class SoftcapNotDivided(Deviation):
    """The scores are capped as softcap * tanh(s), without dividing by the softcap first."""

    slug = "softcap.not-divided"
    clause = "attention.softcap"
    correction = "softcap * tanh(scores / softcap)"

    def capped(self, scores: Array, softcap: float | None) -> Array:
        return scores if softcap is None else softcap * np.tanh(scores)


class SoftcapBeforeScale(Deviation):
    """The softcap bounds the products of queries and keys before they are scaled."""

    slug = "softcap.before-scale"
    clause = "attention.order"
    correction = "scale the scores, then cap them"

    def finished(
        self, scores: Array, scale: float, softcap: Any, bias: Any, mask: Any, visible: Array, dropout_mask: Any
    ) -> Array:
        scaled = self.capped(scores, softcap) * scale
        return self.hidden(self.biased(scaled, bias), mask, visible, dropout_mask)


class SoftcapByAbsoluteValue(Deviation):
    """The scores are bounded by s / (1 + |s| / softcap)."""

    slug = "softcap.by-absolute-value"
    clause = "attention.softcap"
    correction = "softcap * tanh(scores / softcap)"

    def capped(self, scores: Array, softcap: float | None) -> Array:
        return scores if softcap is None else scores / (1 + np.abs(scores) / softcap)


class SoftcapAfterBias(Deviation):
    """The softcap bounds the sum of scores and bias."""

    slug = "softcap.after-bias"
    clause = "attention.order"
    correction = "cap the scaled scores, then add the bias"

    def finished(
        self, scores: Array, scale: float, softcap: Any, bias: Any, mask: Any, visible: Array, dropout_mask: Any
    ) -> Array:
        capped = self.capped(self.biased(scores * scale, bias), softcap)
        return self.hidden(capped, mask, visible, dropout_mask)


class SoftcapAfterMask(Deviation):
    """The softcap is applied after hiding, so that hidden keys get the score -softcap and are attended to."""

    slug = "softcap.after-mask"
    clause = "attention.order"
    correction = "cap first, hide last"

    def finished(
        self, scores: Array, scale: float, softcap: Any, bias: Any, mask: Any, visible: Array, dropout_mask: Any
    ) -> Array:
        hidden = self.hidden(self.biased(scores * scale, bias), mask, visible, dropout_mask)
        return self.capped(hidden, softcap)


class HeadsTiled(Deviation):
    """Query head i reads key/value head i % g."""

    slug = "heads.tiled"
    clause = "attention.heads"
    correction = "query head i reads key/value head i // (h/g): repeat_interleave, not tile"

    def for_each_head(self, array: Array, heads: int) -> Array:
        return np.concatenate([array] * (heads // array.shape[-3]), axis=-3)


class HeadsFirstOnly(Deviation):
    """Every query head reads the first key/value head."""

    slug = "heads.first-only"
    clause = "attention.heads"
    correction = "query head i reads key/value head i // (h/g)"

    def for_each_head(self, array: Array, heads: int) -> Array:
        return np.repeat(array[..., :1, :, :], heads, axis=-3) if array.shape[-3] != heads else array


class HeadsFirstForAll(Deviation):
    """Every query head reads the first key/value head, also where each has one of its own."""

    slug = "heads.first-for-all"
    clause = "attention.heads"
    correction = "query head i reads key/value head i // (h/g)"

    def for_each_head(self, array: Array, heads: int) -> Array:
        return np.repeat(array[..., :1, :, :], heads, axis=-3)


class QueryKeySwapped(Deviation):
    """The arguments query and key are exchanged."""

    slug = "query-key.swapped"
    clause = "attention.formula"
    correction = "call it with the query first; the output has a row for each query"

    def products(self, query: Array, key: Array) -> Array:
        return super().products(key, query) if query.shape == key.shape else super().products(query, key)


SCORES: tuple[type[Deviation], ...] = (
    BiasIgnored, BiasNegated, BiasBeforeScale, BiasAsMask, BiasLargeHides, BiasAllExcludedNaN,
    SoftcapIgnored, SoftcapNotRescaled, SoftcapByAbsoluteValue, SoftcapAfterBias, SoftcapAfterMask,
    SoftcapNotDivided, SoftcapBeforeScale, BiasOfFirstHead,
    HeadsTiled, HeadsFirstOnly, HeadsFirstForAll, QueryKeySwapped,
)  # fmt: skip
BIASES_OF_LAYERS: tuple[type[Deviation], ...] = (GivenBiasOfFirstHead,)
