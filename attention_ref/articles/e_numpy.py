"""Article E in NumPy, and in its text."""

from __future__ import annotations

import numpy as np


def no_maximum(query, key, value):
    """The exponential of a score as it is."""
    exponentials = np.exp(query @ key.swapaxes(-1, -2) / query.shape[-1] ** 0.5)
    return exponentials / exponentials.sum(axis=-1, keepdims=True) @ value


def two_axes(query, key, value):
    """`.T` turns round all axes, so there can be only two."""
    return softmax(query @ key.T / query.shape[-1] ** 0.5) @ value


def element_by_element(query, key, value):
    """Weights and values are multiplied where they lie."""
    return softmax(query @ key.swapaxes(-1, -2) / query.shape[-1] ** 0.5) * value


def added_inside(query, key, value):
    """The attention adds its own input."""
    return query + softmax(query @ key.swapaxes(-1, -2) / query.shape[-1] ** 0.5) @ value


def attention(query, key, value):
    """A matrix product of weights and values; what is added to it is the layer's business."""
    return softmax(query @ key.swapaxes(-1, -2) / query.shape[-1] ** 0.5) @ value


def softmax(scores):
    """Normalise over the keys, from the row's maximum down."""
    exponentials = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)
