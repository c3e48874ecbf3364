"""Article B in NumPy: attention whose weights are probabilities of the wrong thing."""

from __future__ import annotations

import numpy as np


def sum_over_matrix(query, key, value):
    """One sum for all queries together."""
    scores = query @ key.swapaxes(-1, -2) / query.shape[-1] ** 0.5
    exponentials = np.exp(scores)
    return exponentials / exponentials.sum() @ value


def no_maximum(query, key, value):
    """The exponential of a score as it is."""
    scores = query @ key.swapaxes(-1, -2) / query.shape[-1] ** 0.5
    exponentials = np.exp(scores)
    return exponentials / exponentials.sum(axis=-1, keepdims=True) @ value


def by_cosine(query, key, value):
    """The similarity of a query and a key is the cosine of the angle between them."""
    return softmax(cosines(query, key)) @ value


def cosines(query, key):
    """Inner products of vectors of length 1."""
    query, key = (array / np.linalg.norm(array, axis=-1, keepdims=True) for array in (query, key))
    return query @ key.swapaxes(-1, -2)


def attention(query, key, value):
    """The similarity is the inner product; one sum for each query, and no exponential above 1."""
    return softmax(query @ key.swapaxes(-1, -2) / query.shape[-1] ** 0.5) @ value


def softmax(scores):
    """Normalise over the keys, from the row's maximum down."""
    exponentials = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)
