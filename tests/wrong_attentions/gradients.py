"""Wrong gradients behind a right output."""

from __future__ import annotations

from tests.wrong_attentions.record import WrongAttention


class RowSumMissing(WrongAttention):
    title = "The softmax differentiated one weight at a time"
    clause = "attention.gradients"
    references = "no release that we know of; what is left of FlashAttention's backward pass without its row sum"
    instead = "ignores that a larger weight makes the others of its row smaller"
    correction = "subtract each row's sum of weight times gradient before multiplying by the weights"

    def gradient(self, query, key, value, *, cotangent, mask=None, causal=False):
        _, weights = self.attention(query, key, value, mask=mask, causal=causal, return_weights=True)
        scores = weights * (cotangent @ value.mT) * float(self.default_scale(query, key))  # (b,h,q,k)
        return {"query": scores @ key, "key": scores.mT @ query, "value": weights.mT @ cotangent}


class ScaleMissingBackwards(WrongAttention):
    title = "No scale in the backward pass"
    clause = "attention.gradients"
    references = "no release that we know of"
    instead = "gives query and key sqrt(d) times their gradients; the output is right"
    correction = "multiply the gradients of query and key by the scale"

    def gradient(self, query, key, value, *, cotangent, mask=None, causal=False):
        _, weights = self.attention(query, key, value, mask=mask, causal=causal, return_weights=True)
        scores = weights * (cotangent @ value.mT)  # (b,h,q,k)
        scores = scores - weights * scores.sum(axis=-1, keepdims=True)
        return {"query": scores @ key, "key": scores.mT @ query, "value": weights.mT @ cotangent}
