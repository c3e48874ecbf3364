"""Attention in Keras, on TensorFlow, JAX or PyTorch (articles A, B and E)."""

from __future__ import annotations

from typing import Any

import attention_ref.keras as ar


def cross_attention(query: Any, key: Any, value: Any, lengths: Any) -> Any:
    """Attend to the real keys of each batch row."""
    return ar.attention(query, key, value, key_lengths=lengths)


def self_attention(query: Any, key: Any, value: Any) -> tuple[Any, Any]:
    """Attend to what came before; give the weights too."""
    return ar.attention(query, key, value, causal=True, return_weights=True)
