"""Article A in NumPy: attention of two matrices."""

from __future__ import annotations

import numpy as np


def no_softmax(query, key, value):
    """Scores are taken for weights."""
    scores = query @ key.swapaxes(-1, -2) / query.shape[-1] ** 0.5
    return scores @ value


def two_axes(query, key, value):
    """The transpose turns round every axis, those of batch and heads too."""
    scores = query @ key.T / query.shape[-1] ** 0.5
    exponentials = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True) @ value


def attention(query, key, value):
    """Softmax over the keys, for any leading axes."""
    scores = query @ key.swapaxes(-1, -2) / query.shape[-1] ** 0.5
    exponentials = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True) @ value


def code_in_every_head(x, query, key, value, output):
    """Each head adds a code of positions of its own to its queries and keys."""
    q, k, v = (np.einsum("blm,mhd->bhld", x, kernel) for kernel in (query, key, value))
    heads, length, size = q.shape[1:]
    codes = np.sin(np.arange(heads * length * size).reshape(heads, length, size)).astype(x.dtype)
    return np.einsum("bhlv,hvm->blm", attention(q + codes, k + codes, v), output)


def no_code_in_heads(x, query, key, value, output):
    """Heads project and attend; positions came with x."""
    q, k, v = (np.einsum("blm,mhd->bhld", x, kernel) for kernel in (query, key, value))
    return np.einsum("bhlv,hvm->blm", attention(q, k, v), output)
