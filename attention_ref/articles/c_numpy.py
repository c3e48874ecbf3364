"""Article C in its text: what is said of projections, and of weights."""

from __future__ import annotations

import numpy as np


def kernel_first(array, kernel):
    """W X, though tokens are rows."""
    return kernel @ array


def kernel_last(array, kernel):
    """X W: each row of X is a token."""
    return array @ kernel


def values_twice(query, key, value):
    """What is called the weights is the output already."""
    weights = softmax(query @ key.swapaxes(-1, -2) / query.shape[-1] ** 0.5) @ value
    return weights @ value


def values_once(query, key, value):
    """The weights are the softmax; the output is their product with the values."""
    weights = softmax(query @ key.swapaxes(-1, -2) / query.shape[-1] ** 0.5)
    return weights @ value


def softmax(scores):
    """Normalise over the keys, from the row's maximum down."""
    exponentials = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)
