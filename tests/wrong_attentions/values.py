"""Wrong outputs: dropout, the sum of the values, and what is returned."""

from __future__ import annotations

import numpy as np

from tests.wrong_attentions.record import WrongAttention


class DropoutRenormalised(WrongAttention):
    title = "Dropout is normalised again"
    clause = "attention.dropout"
    references = "no release that we know of"
    instead = "makes what is kept add up to 1: nothing is left of the noise in the sum"
    correction = "divide what is kept by 1 - dropout"

    def dropped(self, weights, _, dropout_mask):
        kept = weights * dropout_mask
        return kept / kept.sum(axis=-1, keepdims=True)


class DropoutNotScaled(WrongAttention):
    title = "Dropout without its scale"
    clause = "attention.dropout"
    references = "dropout as it was first published, which scales at inference instead"
    instead = "returns too little in training"
    correction = "divide what is kept by 1 - dropout"

    def dropped(self, weights, _, dropout_mask):
        return weights * dropout_mask


class DropoutKeepsRate(WrongAttention):
    title = "The rate is taken for what is kept"
    clause = "attention.dropout"
    references = "no release that we know of"
    instead = "divides by the dropout rate"
    correction = "divide what is kept by 1 - dropout"

    def dropped(self, weights, dropout, dropout_mask):
        return super().dropped(weights, 1 - dropout, dropout_mask)


class WeightsAfterDropout(WrongAttention):
    title = "The weights after dropout"
    clause = "attention.weights"
    references = "torch.nn.MultiheadAttention 2.13.0, transformers 5.23.0 eager, keras.layers.Attention 3.15.1"
    instead = "returns weights whose rows add up to 2 or to 0.97"
    correction = "return them as they are before dropout"

    def reported(self, _, dropped):
        return dropped


class WeightsAveraged(WrongAttention):
    title = "Weights averaged over the heads"
    clause = "attention.weights"
    references = "torch.nn.MultiheadAttention 2.13.0 by default"
    instead = "returns (b,q,k)"
    correction = "return every head: (b,h,q,k)"

    def reported(self, weights, _):
        return weights.mean(axis=-3)


class ValueSizeOfQuery(WrongAttention):
    title = "Values are as wide as queries"
    clause = "attention.value-size"
    references = "jax.nn 0.10.2"
    instead = "gives the output the query's shape, and fails for another value size"
    correction = "the output is as wide as the value"

    def mixed(self, weights, kept, value):
        output = super().mixed(weights, kept, value)
        return output.reshape(*output.shape[:-1], self.head_size)

    def default_scale(self, query, key):
        self.head_size = query.shape[-1]
        return super().default_scale(query, key)


class HiddenTimesZero(WrongAttention):
    title = "Zero times NaN"
    clause = "attention.hygiene"
    references = "every library that was measured; pytorch/pytorch#101967"
    instead = "multiplies hidden values by the weight 0: NaN in one reaches queries that do not see it"
    correction = "leave hidden values out of the sum"

    def mixed(self, weights, kept, value):
        is_seen = kept.any(axis=-2)[..., None]  # (b,h,k,1): padding, which nobody sees, is cleared
        return weights @ np.where(is_seen, value, 0)


class PaddingTimesZero(WrongAttention):
    title = "Zero times the NaN of padding"
    clause = "attention.key-lengths"
    references = "every library that was measured, but nested tensors in torch.nn.TransformerEncoder"
    instead = "multiplies padding by the weight 0: what an uninitialised cache holds reaches the output"
    correction = "leave padding out of the sum"

    def mixed(self, weights, kept, value):
        return weights @ value


class ElementwiseValues(WrongAttention):
    title = "Weights and values element by element"
    clause = "attention.formula"
    references = "article E, in its text"
    instead = "fails unless k = v, and then mixes nothing"
    correction = "the matrix product of weights and value"
    pervasive = True

    def mixed(self, weights, kept, value):
        return weights * value


class QueryAdded(WrongAttention):
    title = "The query is added inside"
    clause = "attention.formula"
    references = "article E, in its text"
    instead = "adds the residual in the attention, where it is neither projected nor dropped"
    correction = "the residual connection belongs to the layer around"
    pervasive = True

    def chosen(self, results, query, *wanted):
        output, *others = results
        return super().chosen((output + query, *others), query, *wanted)


class TanhOverKeys(WrongAttention):
    title = "A tanh network over the keys"
    clause = "attention.formula"
    references = "article D"
    instead = (
        "feeds the scores of a query to a dense network and ignores the values; fails in PyTorch, is built in Keras"
    )
    correction = "additive_attention: the network's input is a query and a key"
    pervasive = True

    def attend(self, scores, visible, *_):
        size = scores.shape[-1]
        first, second = (np.random.default_rng(seed).normal(size=(size, size)) for seed in (1, 2))
        network = np.tanh(scores @ first) @ second  # (b,h,q,k): no value takes part
        return network, network, network.sum(axis=-1)
