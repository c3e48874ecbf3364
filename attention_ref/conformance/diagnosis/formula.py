"""Attention in named steps, each of which a deviation may replace: the formula of the specification in NumPy float64.

    s = softcap(scale * q k^T) + bias                     -inf where a key is hidden
    w = exp(s - max) / (sum exp(s - max) + exp(sink - max))
    o = dropout(w) v

A deviation is a class that overrides one step. Several of them together are a class that inherits from all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Array = np.ndarray


class Formula:
    """The formula as specified. Arrays are `(b,h,q,d)`, `(b,g,k,d)` and `(b,g,k,v)` with any leading batch axes."""

    dtype = "float64"
    """The dtype of the function under diagnosis, which determines for example what overflows."""
    chunk_starts: Array | None = None
    """Where the chunk of each position starts, `(b,q)`, in decoding by chunks with a cache."""
    is_behind_cache: Array | bool = False
    """Whether a cache is filled in any batch row when the chunk of a position is called, `(b,q)`."""
    cached: Array | None = None
    """The keys that are in the cache when a query is called, `(b,1,q,k)`."""

    def __call__(self, query: Array, key: Array, value: Array, **options: Any) -> dict[str, Array]:
        """Return `output`, `weights` and `log_sum_exp`, whether requested or not."""
        with np.errstate(all="ignore"):
            return self.attention(query, key, value, **options)

    def attention(
        self,
        query: Array,
        key: Array,
        value: Array,
        *,
        mask: Array | None = None,
        bias: Array | None = None,
        causal: bool = False,
        query_offset: Any = 0,
        window: tuple[int | None, int | None] | None = None,
        key_lengths: Array | None = None,
        scale: float | None = None,
        softcap: float | None = None,
        sinks: Array | None = None,
        dropout: float = 0.0,
        dropout_mask: Array | None = None,
        products: Callable[[Array, Array], Array] | None = None,
    ) -> dict[str, Array]:
        """Compute all results of a call."""
        heads = query.shape[-3]
        key, value = self.for_each_head(key, heads), self.for_each_head(value, heads)  # (b,h,k,_)
        scale = self.default_scale(query, key, value) if scale is None else self.given_scale(scale, query)
        scores = self.products(query, key) if products is None else products(query, key)  # (b,h,q,k)
        visible = self.visible(scores.shape, mask, bias, causal, query_offset, window, key_lengths)
        scores = self.finished(scores, scale, softcap, bias, mask, visible, dropout_mask)
        sinks = None if sinks is None else self.sinks(sinks[:, None, None])  # (h,1,1)
        weights, log_sum_exp = self.softmax(scores, visible, sinks)
        weights = self.masked_weights(weights, mask)
        kept, seen = weights, visible
        if dropout_mask is not None:
            kept, seen = self.dropped(weights, dropout, dropout_mask), visible & dropout_mask
        output = self.weighted_sum(kept, seen, value, key)
        if sinks is not None:
            output = self.with_sinks(output, weights, sinks, log_sum_exp, value)
        output = self.merged(output, query)
        return {"output": output, "weights": self.returned_weights(weights, kept), "log_sum_exp": log_sum_exp}

    # Scores

    def for_each_head(self, array: Array, heads: int) -> Array:
        """Repeat key/value heads, so that query head `i` reads head `i // (h/g)`."""
        return np.repeat(array, heads // array.shape[-3], axis=-3)

    def default_scale(self, query: Array, key: Array, value: Array) -> float:  # noqa: ARG002
        """Return 1/sqrt(d)."""
        return 1 / np.sqrt(query.shape[-1])

    def given_scale(self, scale: float, query: Array) -> float:  # noqa: ARG002
        """Return the scale that replaces the default."""
        return scale

    def products(self, query: Array, key: Array) -> Array:
        """Multiply every query with every key; NaN stays in its row or column."""
        return np.einsum("...qd,...kd->...qk", query, key)

    def finished(
        self,
        scores: Array,
        scale: float,
        softcap: float | None,
        bias: Array | None,
        mask: Array | None,
        visible: Array,
        dropout_mask: Array | None,
    ) -> Array:
        """Scale, apply the softcap, add the bias and hide keys, in this order."""
        scores = self.biased(self.capped(scores * scale, softcap), bias)
        return self.hidden(scores, mask, visible, dropout_mask)

    def capped(self, scores: Array, softcap: float | None) -> Array:
        """Bound the scores smoothly to (-softcap, softcap)."""
        return scores if softcap is None else softcap * np.tanh(scores / softcap)

    def biased(self, scores: Array, bias: Array | None) -> Array:
        """Add the bias."""
        return scores if bias is None else scores + bias

    def hidden(self, scores: Array, mask: Array | None, visible: Array, dropout_mask: Array | None) -> Array:  # noqa: ARG002
        """Set the scores of hidden keys to -inf."""
        return np.where(visible, scores, -np.inf)

    # Visibility

    def visible(
        self,
        shape: tuple[int, ...],
        mask: Array | None,
        bias: Array | None,
        causal: bool,
        query_offset: Any,
        window: tuple[int | None, int | None] | None,
        key_lengths: Array | None,
    ) -> Array:
        """Return which keys are visible to each query under every rule, `(b,h,q,k)`."""
        rules = [np.ones(shape, bool) if self.cached is None else self.cached]
        if mask is not None:
            rules.append(self.by_mask(mask))
        if bias is not None:
            rules.append(self.by_bias(bias))
        if causal:
            rules.append(self.by_causality(self.distance(shape, self.causal_offset(query_offset))))
        if window is not None:
            rules.append(self.by_window(self.distance(shape, self.window_offset(query_offset)), *window))
        if key_lengths is not None:
            rules.append(self.by_length(shape[-1], key_lengths[..., None, None, None]))
        return self.together(list(np.broadcast_arrays(*rules)))

    def together(self, rules: list[Array]) -> Array:
        """Combine the rules by AND."""
        return np.logical_and.reduce(rules)

    def distance(self, shape: tuple[int, ...], query_offset: Any) -> Array:
        """Return how far each key lies behind each query, `(q,k)` or `(b,1,q,k)`; negative before it.

        An offset is an integer, one for each batch row `(b,)`, or, in chunks, one for each query `(b,1,q,1)`.
        """
        offset = np.asarray(query_offset)
        offset = offset[..., None, None, None] if 0 < offset.ndim < 4 else offset
        return np.arange(shape[-1]) - (np.arange(shape[-2])[:, None] + offset)

    def causal_offset(self, query_offset: Any) -> Any:
        """Return the position of the first query among the keys, for the causal rule."""
        return query_offset

    def window_offset(self, query_offset: Any) -> Any:
        """Return the position of the first query among the keys, for the window."""
        return query_offset

    def first_offset(self) -> Array | int:
        """Return the offset with which every call counts its queries from 0: 0, or that of each chunk `(b,1,q,1)`."""
        return 0 if self.chunk_starts is None else -self.chunk_starts[:, None, :, None]

    def by_mask(self, mask: Array) -> Array:
        """True may attend."""
        return mask

    def by_bias(self, bias: Array) -> Array:
        """Only -inf hides."""
        return bias != -np.inf

    def by_causality(self, distance: Array) -> Array:
        """Hide what comes after the query."""
        return distance <= 0

    def by_window(self, distance: Array, left: int | None, right: int | None) -> Array:
        """Hide what is further away than `left` before and `right` after."""
        open_end = np.ones(distance.shape, bool)
        after = open_end if left is None else distance >= -left
        before = open_end if right is None else distance <= right
        return after & before

    def by_length(self, key_length: int, key_lengths: Array) -> Array:
        """Hide the keys from the length on."""
        return np.arange(key_length) < key_lengths

    # Weights and values

    def sinks(self, sinks: Array) -> Array | None:
        """Return the sink logits, which are added to the softmax denominators."""
        return sinks

    def softmax(self, scores: Array, visible: Array, sinks: Array | None) -> tuple[Array, Array]:  # noqa: ARG002
        """Return the weights and the logarithm of the denominators, 0 and -inf for an empty row."""
        maximum = self.row_maximum(scores, sinks)
        exponentials = np.where(scores == -np.inf, 0, np.exp(scores - maximum))
        denominator = self.denominator(exponentials)
        if sinks is not None:
            denominator = denominator + np.exp(sinks - maximum)
        is_empty = np.all(scores == -np.inf, axis=-1, keepdims=True)
        weights = np.where(is_empty, 0, exponentials / denominator)
        log_sum_exp = np.where(is_empty, -np.inf, self.log_sum_exp(maximum, denominator))
        return weights, self.returned_log_sum_exp(log_sum_exp[..., 0])

    def log_sum_exp(self, maximum: Array, denominator: Array) -> Array:
        """Return the log-sum-exp of the unshifted scores."""
        return maximum + np.log(denominator)

    def returned_log_sum_exp(self, log_sum_exp: Array) -> Array:
        """Return the natural logarithm, -inf for an empty row."""
        return log_sum_exp

    def row_maximum(self, scores: Array, sinks: Array | None) -> Array:
        """Return the maximum that is subtracted before the exponential."""
        maximum = scores.max(axis=-1, keepdims=True, initial=-np.inf)
        maximum = maximum if sinks is None else np.maximum(maximum, sinks)
        return np.where(maximum == -np.inf, 0, maximum)

    def denominator(self, exponentials: Array) -> Array:
        """Add up the exponentials of a row."""
        return exponentials.sum(axis=-1, keepdims=True)

    def masked_weights(self, weights: Array, mask: Array | None) -> Array:  # noqa: ARG002
        """Return the weights unchanged: the mask was applied to the scores."""
        return weights

    def dropped(self, weights: Array, dropout: float, dropout_mask: Array) -> Array:
        """Return the weights divided by 1 - dropout where the mask is True, else 0."""
        return np.where(dropout_mask, weights / (1 - dropout), 0)

    def weighted_sum(self, weights: Array, seen: Array, value: Array, key: Array) -> Array:  # noqa: ARG002
        """Sum the values with their weights; hidden values do not contribute, not even NaN."""
        terms = weights[..., None] * value[..., None, :, :]  # (b,h,q,k,v)
        return np.where((seen | (weights != 0))[..., None], terms, 0).sum(axis=-2)

    def with_sinks(self, output: Array, weights: Array, sinks: Array, log_sum_exp: Array, value: Array) -> Array:  # noqa: ARG002
        """Return the output unchanged: a sink has no value."""
        return output

    def merged(self, output: Array, query: Array) -> Array:  # noqa: ARG002
        """Return the output unchanged: heads are not merged and no residual is added."""
        return output

    def returned_weights(self, weights: Array, kept: Array) -> Array:  # noqa: ARG002
        """Return the weights of every head, before dropout."""
        return weights
