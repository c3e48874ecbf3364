"""Article D in Keras: the same network, built by itself on whatever it is given."""

from __future__ import annotations

import keras
from keras import ops


class TanhOverKeys(keras.layers.Layer):
    """The network reads a row of scores; `Dense` asks nobody how long a row may be."""

    def __init__(self, model, **options):
        super().__init__(**options)
        self.first = keras.layers.Dense(model, dtype=self.dtype_policy)
        self.second = keras.layers.Dense(model, dtype=self.dtype_policy)

    def call(self, query, key, value):
        """Apply it; no scale, no softmax, no value."""
        scores = query @ ops.swapaxes(key, -1, -2)
        return self.second(ops.tanh(self.first(scores)))


def tanh_over_keys(query, key, value, *, score_kernel):
    """The layer, made for the size of the queries."""
    dtype = keras.backend.standardize_dtype(query.dtype)
    return TanhOverKeys(query.shape[-1], dtype=dtype)(query, key, value)


def tanh_of_query_and_key(query, key, value, *, score_kernel):
    """Bahdanau: the network reads a query and a key, gives one score, and softmax follows."""
    layer = ops.tanh(ops.expand_dims(query, -2) + ops.expand_dims(key, -3))  # (b,h,q,k,a)
    scores = ops.sum(layer * score_kernel, axis=-1)
    return ops.softmax(scores, axis=-1) @ value
