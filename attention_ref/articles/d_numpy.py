"""Article D in its text: where queries, keys and values come from."""

from __future__ import annotations

import numpy as np

from attention_ref.articles.a_numpy import attention


def three_parts(x, query, key, value, output):
    """The input is cut into three: no part of it can ask about the whole."""
    q, k, v = np.array_split(x, 3, axis=-1)
    return attention(q, k, v)


def three_projections(x, query, key, value, output):
    """Each of the three sees all of the input, through a kernel of its own."""
    q, k, v = (np.einsum("blm,mhd->bhld", x, kernel) for kernel in (query, key, value))
    return np.einsum("bhlv,hvm->blm", attention(q, k, v), output)
