"""Attention in Keras, on TensorFlow, JAX or PyTorch (articles A, B and E)."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

import attention_ref.keras as ar


def cross_attention(query: Any, key: Any, value: Any, lengths: Any) -> Any:
    """Attend to the real keys of each batch row."""
    return ar.attention(query, key, value, key_lengths=lengths)


def self_attention(query: Any, key: Any, value: Any) -> tuple[Any, Any]:
    """Attend to what came before, and return the weights too."""
    return ar.attention(query, key, value, causal=True, return_weights=True)


if __name__ == "__main__":
    generator = np.random.default_rng(0)
    query, key, value = (keras.ops.convert_to_tensor(generator.normal(size=(1, 2, 3, 4))) for _ in range(3))
    output, weights = self_attention(query, key, value)
    print(f"output {tuple(output.shape)}; the weights of the first head:\n{weights[0, 0]}")
