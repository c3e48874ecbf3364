"""Additive attention (Bahdanau et al., 2015; article D) in every backend: one formula, one set of weights.

    score(i, j) = score_kernel . tanh(query_i query_kernel + key_j key_kernel)

The network reads a pair, a query and a key, and gives one number. What follows is what follows every score: the keys
that may not be seen are hidden, softmax over the keys, the sum of the values.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np

import attention_ref.numpy

QUERY_SIZE, KEY_SIZE, HIDDEN = 4, 6, 5


def kernels(seed: int = 0) -> dict[str, np.ndarray]:
    """Draw the weights of the network."""
    generator = np.random.default_rng(seed)
    shapes = {"query_kernel": (QUERY_SIZE, HIDDEN), "key_kernel": (KEY_SIZE, HIDDEN), "score_kernel": (HIDDEN,)}
    return {name: generator.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def decoder_looks_at_encoder(room: ModuleType, state: Any, memory: Any, lengths: Any, kernels: dict[str, Any]) -> Any:
    """Let the state of a decoder look for what it needs among the states of an encoder.

    Arguments:
        room: `attention_ref.numpy`, `.torch` or `.keras`.
        state: `(b,1,q,d)`, the decoder's states, as queries of one head.
        memory: `(b,1,k,e)`, the encoder's states, keys and values at once.
        lengths: how many of each row are real, `(b,)`.
        kernels: arrays of the backend's kind.
    """
    return room.additive_attention(state, memory, memory, key_lengths=lengths, **kernels)


if __name__ == "__main__":
    generator = np.random.default_rng(0)
    state, memory = generator.normal(size=(2, 1, 1, QUERY_SIZE)), generator.normal(size=(2, 1, 5, KEY_SIZE))
    weights = {name: array.astype(np.float64) for name, array in kernels().items()}
    print(decoder_looks_at_encoder(attention_ref.numpy, state, memory, np.array([5, 2]), weights))
