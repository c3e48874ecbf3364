"""Attention in NumPy (articles A, B and E)."""

from __future__ import annotations

import numpy as np

import attention_ref.numpy as ar


def cross_attention(query: np.ndarray, key: np.ndarray, value: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Attend to the real keys of each batch row."""
    return ar.attention(query, key, value, key_lengths=lengths)


def self_attention(query: np.ndarray, key: np.ndarray, value: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Attend to what came before; give the weights too."""
    return ar.attention(query, key, value, causal=True, return_weights=True)
