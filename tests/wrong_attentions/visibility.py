"""Wrong visibility: mask, causality, offset, window, lengths, and how they go together."""

from __future__ import annotations

import numpy as np

from tests.wrong_attentions.record import WrongAttention


class MaskInverted(WrongAttention):
    title = "Inverted mask"
    clause = "attention.mask"
    references = "rasbt/LLMs-from-scratch#1061; right for torch.nn.MultiheadAttention, wrong everywhere else"
    instead = "hides where the mask is True"
    correction = "True means: may attend"

    def by_mask(self, mask):
        return ~mask


class MaskAdded(WrongAttention):
    title = "A boolean mask is added"
    clause = "attention.mask"
    references = "transformers 5.23.0 eager; huggingface/transformers#41443"
    instead = "raises visible scores by 1 and hides nothing"
    correction = "where(mask, scores, -inf)"

    def attention(self, query, key, value, *, mask=None, bias=None, **options):
        if mask is not None:
            bias = mask.astype(query.dtype) if bias is None else bias + mask.astype(query.dtype)
        return super().attention(query, key, value, bias=bias, **options)


class MaskAlignedLeft(WrongAttention):
    title = "A mask of three axes is given a head axis"
    clause = "attention.mask"
    references = "keras.layers.MultiHeadAttention 3.15.1, keras-hub 0.32.0"
    instead = "reads (h,q,k) as (b,q,k)"
    correction = "broadcast from the right, as NumPy does"

    def by_mask(self, mask):
        return mask[:, None] if mask.ndim == 3 else mask


class HiddenByMinusTenThousand(WrongAttention):
    title = "Hidden keys get a large negative score"
    clause = "attention.finite-bias"
    references = "flashinfer-ai/flashinfer#4401 (-50000); ohdearquant/lattice#373 (-10000)"
    instead = "prefers a hidden key to visible ones that score even lower"
    correction = "hide with -inf, or by not adding up"

    def softmax(self, scores, visible, sinks):
        scores = np.where(visible, scores, scores.dtype.type(-1e4))
        return super().softmax(scores, visible | visible.any(axis=-1, keepdims=True), sinks)


class CausalDropped(WrongAttention):
    title = "The causal mask is dropped"
    clause = "attention.causal"
    references = "keras-team/keras#23038, with dropout or returned scores"
    instead = "sees the future"
    correction = "key j only if j <= i + query_offset"

    def by_causality(self, distance):
        return np.ones_like(distance, bool)


class CausalStrict(WrongAttention):
    title = "The diagonal is masked"
    clause = "attention.causal"
    references = "no release that we know of"
    instead = "hides a query's own position; the first row sees nothing"
    correction = "j <= i, not j < i"

    def by_causality(self, distance):
        return distance < 0


class CausalBottomRight(WrongAttention):
    title = "Causal from the bottom right"
    clause = "attention.causal"
    references = "flash-attention from 2.1, x-transformers 2.31.10; microsoft/onnxruntime#29020"
    instead = "aligns the last query with the last key, where q and k differ"
    correction = "align at the top left, and say k - q as query_offset where the bottom right is meant"

    def by_causality(self, distance):
        query_length, key_length = distance.shape[-2:]
        return distance <= key_length - query_length


class OffsetIgnored(WrongAttention):
    title = "The offset is ignored"
    clause = "attention.query-offset"
    references = (
        "torch.nn.functional, jax.nn and keras.ops have none; pytorch/pytorch#108108; ONNX until onnx/onnx#8068"
    )
    instead = "lets a query behind a cache see the first keys of the cache only"
    correction = "key j is visible if j <= i + query_offset"

    def distance(self, query_length, key_length, _):
        return super().distance(query_length, key_length, 0)


class OffsetOfFirstRow(WrongAttention):
    title = "One offset for the whole batch"
    clause = "attention.query-offset"
    references = "no release that we know of"
    instead = "uses the first row's offset for every row"
    correction = "an offset of each batch row, shaped (b,1,1,1)"

    def distance(self, query_length, key_length, query_offset):
        return super().distance(query_length, key_length, np.ravel(query_offset)[0])


class WindowExclusive(WrongAttention):
    title = "The window is one key short"
    clause = "attention.window"
    references = "sliding_window of Keras and of transformers' causal models; huggingface/transformers#39408"
    instead = "counts the query's own position as one of the keys to the left"
    correction = "left is a distance: left + 1 keys with the own position"

    def by_window(self, distance, left, right):
        return super().by_window(distance, None if left is None else left - 1, right)


class WindowOneSided(WrongAttention):
    title = "The window looks back only"
    clause = "attention.window"
    references = "no release that we know of"
    instead = "leaves the right side open"
    correction = "bound both sides"

    def by_window(self, distance, left, _):
        return super().by_window(distance, left, None)


class LengthsIgnored(WrongAttention):
    title = "Padding is attended to"
    clause = "attention.key-lengths"
    references = "no release that we know of"
    instead = "gives weight to keys past the length of their row"
    correction = "key j only if j < length"

    def by_length(self, key_length, _):
        return np.ones(key_length, bool)


class LengthInclusive(WrongAttention):
    title = "One padded key too many"
    clause = "attention.key-lengths"
    references = "no release that we know of"
    instead = "takes the length for the last index"
    correction = "j < length, not j <= length"

    def by_length(self, key_length, key_lengths):
        return super().by_length(key_length, np.asarray(key_lengths) + 1)


class PaddingOnTheLeft(WrongAttention):
    title = "Padding is looked for on the left"
    clause = "attention.key-lengths"
    references = "left-padded batches, as tokenizers make them for generation"
    instead = "hides the first keys of a row, not the last"
    correction = "the real keys come first"

    def by_length(self, key_length, key_lengths):
        return super().by_length(key_length, key_lengths)[..., ::-1]


class AnyRuleShows(WrongAttention):
    title = "One rule is enough"
    clause = "attention.visibility"
    references = "no release that we know of"
    instead = "shows a key that any of mask, causality, window or lengths allows"
    correction = "every rule must allow a key"

    def together(self, rules):
        hiding = [rule for rule in rules if not np.all(rule)] or rules
        return np.logical_or.reduce(np.broadcast_arrays(np.zeros_like(rules[0]), *hiding))


class LastRuleWins(WrongAttention):
    title = "One rule replaces another"
    clause = "attention.visibility"
    references = "torch.nn.MultiheadAttention 2.13.0, where is_causal replaces the mask"
    instead = "applies the last rule given"
    correction = "every rule must allow a key"

    def together(self, rules):
        hiding = [rule for rule in rules if not np.all(rule)] or rules
        return np.broadcast_to(hiding[-1], rules[0].shape)
