"""Attention in NumPy (articles A, B and E)."""

from __future__ import annotations

import numpy as np

import attention_ref.numpy as ar


def cross_attention(query: np.ndarray, key: np.ndarray, value: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Attend to the real keys of each batch row."""
    return ar.attention(query, key, value, key_lengths=lengths)


def self_attention(query: np.ndarray, key: np.ndarray, value: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Attend to what came before, and return the weights too."""
    return ar.attention(query, key, value, causal=True, return_weights=True)


if __name__ == "__main__":
    generator = np.random.default_rng(0)
    query, key, value = (np.asarray(generator.normal(size=(1, 2, 3, 4))) for _ in range(3))
    output, weights = self_attention(query, key, value)
    print(f"output {tuple(output.shape)}; the weights of the first head:\n{weights[0, 0]}")
